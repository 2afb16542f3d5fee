"""Ctrl-C ends every process of the demo, those that left their process group too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from demo.processes import in_sessions, in_words, sweep

ROOT = Path(__file__).parents[2]

STRAY = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0)
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""
"""A process whose child leads a process group of its own, as Airflow's tasks do."""

FLEET = """
import sys, threading
from pathlib import Path
from demo.processes import Fleet, Service
var = Path(sys.argv[1])
services = [
    Service("stray", (sys.executable, "-c", {stray!r}, str(var / "pids"))),
    Service("late", (sys.executable, "-c", "import sys; print('late is here'); sys.exit({late})")),
    Service("maybe", (sys.executable, "-c", "print('error: no use')"), optional=True),
]
fleet = Fleet(services, var=var, root=Path.cwd(), screen=sys.stdout)
def story():
    fleet.printer.all_started.wait()
    fleet.start("stray")
    fleet.start("maybe")
    if {start_late}:
        fleet.start("late")
threading.Thread(target=story, daemon=True).start()
code = fleet.run()
print("ended", code, fleet.asked_to_stop, fleet.printer.first_ended, flush=True)
"""


def started(command: list[str]) -> subprocess.Popen[str]:
    """The command, started in a session of its own."""
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)


def fleet(var: Path, *, start_late: bool = False, late: int = 0) -> subprocess.Popen[str]:
    """A small fleet under its own interpreter."""
    script = textwrap.dedent(FLEET).format(stray=STRAY, start_late=start_late, late=late)
    return started([sys.executable, "-c", script, str(var)])


def pids_in(path: Path) -> list[int]:
    """The ids that the stray wrote once it was up."""
    wait(lambda: path.exists() and len(path.read_text().split()) == 2, "the stray came up")
    return [int(pid) for pid in path.read_text().split()]


def wait(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_signal_to_the_group_misses_the_stray_and_the_sweep_does_not(tmp_path: Path) -> None:
    """A signal to the group leaves a child with its own group alive (the control); the sweep ends it."""
    parent = started([sys.executable, "-c", STRAY, str(tmp_path / "pids")])
    _, child = pids_in(tmp_path / "pids")
    os.killpg(parent.pid, signal.SIGTERM)
    parent.wait(timeout=10)
    assert lives(child)
    assert in_sessions({parent.pid}) == [child]
    assert sweep({parent.pid}) == [child]
    assert not lives(child)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_every_way_to_stop_stops_everything(number: int, code: int, tmp_path: Path) -> None:
    """Ctrl-C, a termination and a closed terminal leave no process of the fleet behind."""
    run = fleet(tmp_path)
    pids = pids_in(tmp_path / "pids")
    children = [child.pid for child in psutil.Process(run.pid).children(recursive=True)]
    assert set(pids) <= set(children)
    run.send_signal(number)
    out, _ = run.communicate(timeout=30)
    assert f"ended {code} True" in out
    wait(lambda: not any(lives(pid) for pid in children), "all are gone", 5)


def test_one_that_ends_by_itself_ends_the_run_and_is_named(tmp_path: Path) -> None:
    """A process that ends by itself stops the others, and the run knows which one it was."""
    run = fleet(tmp_path, start_late=True, late=3)
    out, _ = run.communicate(timeout=30)
    assert "ended 3 False ('late', '3')" in out
    assert "late is here" in (tmp_path / "log" / "late.log").read_text()


def test_an_optional_one_may_end_and_a_gate_holds(tmp_path: Path) -> None:
    """An optional process that ends leaves the run alone; one whose gate is closed has not begun."""
    run = fleet(tmp_path)
    log = tmp_path / "log" / "maybe.log"
    wait(lambda: log.exists() and "the demo goes on without it" in log.read_text(), "the optional one ended")
    assert run.poll() is None
    assert (tmp_path / "log" / "late.log").read_text() == ""
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=30)
    assert "maybe" in out
    assert "error: no use" in out


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"message": "workers 1 -> 2", "condition": "79 requests/s"}', "workers 1 -> 2 (79 requests/s)"),
        ('{"message": "down"}', "down"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("[1]", "[1]"),
    ],
)
def test_json_logs_are_shown_in_words(line: str, shown: str) -> None:
    """A JSON line shows its message, any other line stays as it is."""
    assert in_words(line) == shown
