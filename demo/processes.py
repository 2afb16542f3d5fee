"""The demo's processes under honcho's Manager: started in turn, logged apart, all stopped together.

honcho starts everything it manages at once and ends everything when one ends. So a process whose turn comes
later waits behind a gate (a file that the story creates), and an optional one that ends becomes a sleep.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import psutil
from honcho.manager import SYSTEM_PRINTER_NAME, Manager
from honcho.printer import Message, Printer

IMPORTANT = ("error", "critical", "traceback", "fatal")
"""A line of a process is shown on the screen when it contains one of these; all lines are in its log."""
TAIL_LINES = 12
SIGNAL_CODES = (130, 143)
"""What honcho ends with after SIGINT and SIGTERM."""
HANGUP_CODE = 129
SHOWN_CHARACTERS = 200
GRACE_SECONDS = 4.0
"""Wall seconds between the request to end and the sweep."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the demo."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    """Environment variables read from files when the process starts."""
    optional: bool = False
    """The demo goes on when it ends."""
    shows: tuple[str, ...] = IMPORTANT
    """Words (lower case) whose lines are shown on the screen."""


def shell_command(service: Service, gate: Path) -> str:
    """The shell line that waits for the gate and then becomes the service."""
    command = shlex.join(service.command)
    wait = f"until [ -e {shlex.quote(str(gate))} ]; do sleep 0.2; done"
    for variable, file in service.secrets.items():
        wait += f'; export {variable}="$(cat {shlex.quote(str(file))})"'
    if not service.optional:
        return f"{wait}; exec {command}"
    told = f"slotcast: {service.name} ended; the demo goes on without it"
    return f"{wait}; {command}; echo {shlex.quote(told)}; exec sleep 2147483647"


class LogPrinter(Printer):  # type: ignore[misc]
    """Each process's lines into var/log/NAME.log, the important ones also on the screen, prefixed."""

    def __init__(self, folder: Path, services: Iterable[Service], screen: TextIO) -> None:
        super().__init__(screen)
        self.all_started = threading.Event()
        self.stopping = threading.Event()
        """Set as soon as honcho begins to end the processes, whatever made it."""
        self._files = {s.name: (folder / f"{s.name}.log").open("ab") for s in services}
        self._shows = {s.name: s.shows for s in services}
        self._tails: dict[str, deque[str]] = {s.name: deque(maxlen=TAIL_LINES) for s in services}
        self._waiting_for = set(self._files)
        self.first_ended: tuple[str, str] | None = None
        """Name and return code of the process that ended first."""

    def write(self, message: Message) -> None:
        """Sort one line: log, screen, or honcho's own news."""
        if message.name == SYSTEM_PRINTER_NAME:
            self._system(str(message.data))
            return
        data = message.data if isinstance(message.data, bytes) else str(message.data).encode()
        file = self._files[message.name]
        file.write(data if data.endswith(b"\n") else data + b"\n")
        file.flush()
        text = data.decode("utf-8", "replace").rstrip()
        self._tails[message.name].append(text)
        lowered = text.lower()
        if any(word in lowered for word in self._shows[message.name]):
            super().write(message._replace(data=in_words(text)[:SHOWN_CHARACTERS]))

    def tail(self, name: str) -> list[str]:
        """The last lines that the process wrote."""
        return list(self._tails.get(name, ()))

    def close(self) -> None:
        """Close the log files."""
        for file in self._files.values():
            file.close()

    def _system(self, text: str) -> None:
        name, _, news = text.strip().partition(" ")
        if news.startswith("started"):
            self._waiting_for.discard(name)
            if not self._waiting_for:
                self.all_started.set()
        elif name == "sending" or news.startswith("received"):
            self.stopping.set()
        elif news.startswith("stopped") and self.first_ended is None:
            self.first_ended = (name, news.removeprefix("stopped (rc=").rstrip(")"))


class Fleet:
    """All processes of one run."""

    def __init__(self, services: Iterable[Service], *, var: Path, root: Path, screen: TextIO) -> None:
        self._gates = var / "run" / "gates"
        self._gates.mkdir(parents=True, exist_ok=True)
        for old in self._gates.iterdir():
            old.unlink()
        (var / "log").mkdir(parents=True, exist_ok=True)
        self.services = {service.name: service for service in services}
        self.printer = LogPrinter(var / "log", self.services.values(), screen)
        self.stopping = self.printer.stopping
        self.asked_to_stop = False
        """Whether a signal or the story ended the run (and no process by itself)."""
        self._code = 0
        self._root, self._var = root, var
        self._manager = Manager(self.printer)
        self._extra: set[int] = set()
        for service in self.services.values():
            self._manager.add_process(
                service.name,
                shell_command(service, self._gates / service.name),
                env={**os.environ, **service.env, "PYTHONUNBUFFERED": "1"},
                cwd=str(root),
            )

    def start(self, name: str) -> None:
        """Open the gate of the process."""
        (self._gates / name).touch()

    def run_once(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Run a command to its end, its output in the log of that name. Raises RuntimeError when it fails."""
        log = self._var / "log" / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, env={**os.environ, **env}, cwd=self._root, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            self.note_session(process.pid)
            if process.wait() and not self.stopping.is_set():
                raise RuntimeError(f"{' '.join(command)} failed; see {log}")

    def note_session(self, pid: int) -> None:
        """Count a process that the story started itself (in a session of its own) to those to be stopped."""
        self._extra.add(pid)

    def stop(self, code: int = 0) -> None:
        """Ask every process to end; `run` then returns the code."""
        self.asked_to_stop, self._code = True, code
        self.stopping.set()
        self._manager.terminate()

    def run(self) -> int:
        """The exit code, once every process has ended (main thread only): 130, 143 or 129 after a signal."""
        signal.signal(signal.SIGHUP, lambda *_: self.stop(HANGUP_CODE))
        threading.Thread(target=self._sweep_when_stopping, name="sweep", daemon=True).start()
        try:
            self._manager.loop()
        finally:
            self.stopping.set()
            sweep(self._sessions() | self._extra)
            self.printer.close()
        if self.asked_to_stop:
            return self._code
        code = self._manager.returncode
        self.asked_to_stop = code in SIGNAL_CODES
        return 0 if code is None else int(code)

    def _sweep_when_stopping(self) -> None:
        """End what a signal to the process groups missed: honcho waits for the last to close its output."""
        self.stopping.wait()
        time.sleep(GRACE_SECONDS)
        sweep(self._sessions() | self._extra)

    def _sessions(self) -> set[int]:
        """The sessions that honcho gave its processes (each leads one), and those of what they started."""
        known = {p["pid"] for p in self._manager._processes.values() if p.get("pid")}  # noqa: SLF001
        for child in psutil.Process().children(recursive=True):
            try:
                known.add(os.getsid(child.pid))
            except ProcessLookupError:
                continue
        return known - {os.getsid(0)}


def sweep(sessions: set[int], grace_seconds: float = 3.0) -> list[int]:
    """The ids of processes still in these sessions: asked to end, and after the grace killed.

    Airflow's tasks lead process groups of their own, which a signal to the group of their parent misses,
    but they stay in its session.
    """
    left = in_sessions(sessions)
    for pid in left:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline and in_sessions(sessions):
        time.sleep(0.1)
    for pid in in_sessions(sessions):
        _signal(pid, signal.SIGKILL)
    return left


def in_sessions(sessions: set[int]) -> list[int]:
    """The living processes (no zombies) whose session is one of these, this one left out."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if (
                process.pid != os.getpid()
                and process.info["status"] != psutil.STATUS_ZOMBIE
                and os.getsid(process.pid) in sessions
            ):
                found.append(process.pid)
        except (ProcessLookupError, PermissionError):
            continue
    return found


def in_words(line: str) -> str:
    """The message of a JSON log line, with what decided it where told; another line as it stands."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return line
    if not isinstance(record, dict) or "message" not in record:
        return line
    condition = record.get("condition")
    return f"{record['message']} ({condition})" if condition else str(record["message"])


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
