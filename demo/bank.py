"""The sample bank in its database: migrated, furnished, its clock set, its loans and slots for a day."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

import pandas as pd
from sqlalchemy import delete, insert

from booking_core import tables as t
from booking_core.database import make_engine, write_transaction
from booking_core.service.tokens import issue_token
from booking_core.settings import BankSettings
from demo import clock, overlay, sample
from demo.preflight import NotReady
from demo.services import Places
from demo.wishes import Wish, write_loans, write_wishes

SLOTS_OPEN_DAYS: Final = 62
SCALING_KEY: Final = "scaling"
STABILISATION_SECONDS: Final = 10.0
TOKENS: Final = {
    "planner": ("planner",),
    "operator": ("operator", "planner"),
    "channel": ("channel", "reader"),
    "counter": ("operator",),
}
"""Name → scopes of the tokens that the run issues once and keeps in var/run/tokens/ (mode 0600)."""


@dataclass(frozen=True, slots=True)
class Bank:
    """The commands that fill the sample bank."""

    root: Path
    var: Path
    run: Callable[[Sequence[str]], str]
    """Runs `python -m booking_core …`; what it printed. Raises NotReady when it fails."""

    @property
    def files(self) -> Path:
        """Where the files that were imported lie."""
        folder = self.var / "demo"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def is_furnished(self) -> bool:
        """Whether an earlier run finished furnishing."""
        return (self.files / "furnished").exists()

    def furnish(self, wall_now: datetime) -> Iterator[str]:
        """Import the sample up to the first eve; yields what was done, step by step."""
        settings = BankSettings(zone=overlay.ZONE, country=overlay.COUNTRY)
        eve = sample.FIRST_EVE
        before_opening = clock.opening(eve, settings) - clock.QUARTER
        offset = clock.offset_for(before_opening, wall_now)
        self.run(["migrate"])
        self.run(
            ["set", f"zone={overlay.ZONE}", f"country={overlay.COUNTRY}", f"business_offset_seconds={offset}"]
        )
        self.store_scaling(wall_now)
        yield f"schema, settings (business clock at {eve} 07:45 {overlay.ZONE})"
        self.run(["import-branches", "--input", str(sample.DATA / "branches.csv")])
        yield f"{len(sample.branches())} branches in 4 regions, automatic application granted"
        self.import_history(None, eve)
        yield f"history up to {eve}: real days, and the synthetic month-end surge"
        pressure = str(sample.DATA / "overlay_pressure.csv.gz")
        self.run(["import-pressure", "--input", pressure, "--source", overlay.SOURCE_PRESSURE, "--synthetic"])
        yield "eight weeks of synthetic pressure"
        (self.files / "furnished").touch()

    def store_scaling(self, wall_now: datetime) -> None:
        """Let servers scale in after seconds instead of minutes: a demo's day lasts a minute and a half."""
        rule = {"stabilisation_seconds": STABILISATION_SECONDS}
        with write_transaction(make_engine(f"sqlite:///{self.var}/slotcast.db")) as connection:
            connection.execute(delete(t.settings).where(t.settings.c.key == SCALING_KEY))
            connection.execute(insert(t.settings).values(key=SCALING_KEY, value=rule, updated_utc=wall_now))

    def import_history(self, after: date | None, until: date) -> None:
        """Import real and synthetic demand of the days after..until (None: from the beginning)."""
        for frame, source, flags in (
            (sample.real(), overlay.SOURCE_REAL, []),
            (sample.surge(), overlay.SOURCE_MONTH_END, ["--synthetic"]),
        ):
            wanted = frame[frame["ds"] <= pd.Timestamp(until)]
            if after is not None:
                wanted = wanted[wanted["ds"] > pd.Timestamp(after)]
            if wanted.empty:
                continue
            path = self.files / f"history-{source.replace(':', '-')}.csv"
            wanted.assign(ds=wanted["ds"].dt.strftime("%Y-%m-%d")).to_csv(path, index=False)
            self.run(["import-history", "--input", str(path), "--source", source, *flags])

    def import_missed(self, until: date) -> list[date]:
        """Import the days up to `until` that no customers played (the clock ran past them); which ones."""
        missed = [
            day
            for day in (
                sample.FIRST_EVE + timedelta(days=n + 1) for n in range((until - sample.FIRST_EVE).days)
            )
            if not self.wishes_file(day).exists() and not (self.files / f"imported-{day}").exists()
        ]
        for day in missed:
            self.import_history(day - timedelta(days=1), day)
            (self.files / f"imported-{day}").touch()
        return missed

    def wishes_file(self, day: date) -> Path:
        """The file of the wishes for the day; it exists once the day was prepared."""
        return self.files / f"wishes-{day}.csv"

    def prepare_day(self, day: date, wishes: Sequence[Wish], eve: date) -> None:
        """Import the loans behind the wishes, open the slots of the coming 62 days, write the wishes."""
        loans = self.files / f"loans-{day}.csv"
        write_loans(wishes, loans)
        self.run(["import-loans", "--input", str(loans)])
        last = eve + timedelta(days=SLOTS_OPEN_DAYS)
        self.run(["open-slots", "--from", (eve + timedelta(days=1)).isoformat(), "--to", last.isoformat()])
        write_wishes(wishes, self.wishes_file(day))

    def tokens(self, places: Places) -> dict[str, str]:
        """The run's tokens by name, issued at the first call, each kept in a file of mode 0600."""
        issued = {}
        for name, scopes in TOKENS.items():
            path = places.token_file(name)
            if not path.exists():
                with write_transaction(make_engine(places.database_url)) as connection:
                    secret = issue_token(connection, name=f"demo {name}", scopes=scopes)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode=0o600)
                path.write_text(secret)
            issued[name] = path.read_text().strip()
        return issued


def core_command(root: Path, env: dict[str, str]) -> Callable[[Sequence[str]], str]:
    """A function that runs `python -m booking_core …` and returns what it printed."""

    def run(arguments: Sequence[str]) -> str:
        command = [sys.executable, "-m", "booking_core", *arguments]
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        if done.returncode:
            told = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise NotReady(f"booking_core {arguments[0]} failed: {' '.join(told)}")
        return done.stdout

    return run
