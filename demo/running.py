"""The run itself: the fleet in the main thread, the story beside it."""

from __future__ import annotations

import sys
import threading
import traceback
from pathlib import Path

from rich.console import Console

from demo import sample
from demo.bank import Bank, core_command
from demo.play import Stopped
from demo.preflight import AlertPrograms, NotReady, Ports
from demo.processes import SIGNAL_CODES, Fleet
from demo.services import Places, services
from demo.story import Story, Teller


def run_all(
    *,
    ports: Ports,
    alerts: AlertPrograms,
    var: Path,
    quarter_seconds: float,
    once: bool,
    keep_playing: bool,
    console: Console,
) -> int:
    """The exit code of a run; every process it started has ended when this returns."""
    places = Places(sample.ROOT, var)
    var.mkdir(parents=True, exist_ok=True)
    fleet = Fleet(services(places, ports, alerts), var=var, root=places.root, screen=sys.stdout)
    bank = Bank(places.root, var, core_command(places.root, places.environment(ports)))
    teller = Teller(console)
    story = Story(places, ports, alerts, fleet, bank, teller, quarter_seconds)
    failed = threading.Event()

    def tell() -> None:
        try:
            fleet.printer.all_started.wait()
            story.tell()
            while keep_playing and not once and story.one_day():
                pass
            if once:
                fleet.stop()
            else:
                teller.say(
                    "running; Ctrl-C stops everything. `make run` again goes on with the next real day."
                )
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001 – whatever it was, it is told and everything is stopped
            if not fleet.stopping.is_set():
                failed.set()
                tell_fault(error, teller, var / "log" / "demo.log")
                fleet.stop()

    teller.say(f"Slotcast: everything lies in {var}; logs in {var}/log")
    thread = threading.Thread(target=tell, name="story", daemon=True)
    thread.start()
    code = fleet.run()
    thread.join(timeout=15)
    if failed.is_set():
        return 1
    if not fleet.asked_to_stop:
        tell_ended(fleet, teller)
        return 1
    teller.say("everything is stopped")
    return code if code in SIGNAL_CODES else 0


def tell_fault(error: Exception, teller: Teller, log: Path) -> None:
    """Say in one line why the story stopped; an unexpected fault's trace goes to the log."""
    if isinstance(error, (NotReady, TimeoutError)):
        teller.say(f"stopped: {error}", style="bold red")
        return
    log.write_text("".join(traceback.format_exception(error)))
    teller.say(f"stopped by a fault: {error!r}; its trace lies in {log}", style="bold red")


def tell_ended(fleet: Fleet, teller: Teller) -> None:
    """Say which process ended by itself, with its last lines."""
    name, code = fleet.printer.first_ended or ("a process", "unknown")
    teller.say(
        f"{name} ended by itself (code {code}), so everything was stopped; its last lines:", style="bold red"
    )
    for line in fleet.printer.tail(name):
        teller.console.print(f"    {line}", markup=False, highlight=False)
