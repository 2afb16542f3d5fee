"""The story that `make run` tells, step by step, while the fleet of processes runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

import httpx
from rich.console import Console
from sqlalchemy import Engine, select

from booking_core import tables as t
from booking_core.database import make_engine
from booking_core.read.bank import bank_settings
from booking_core.read.servers import scaling_decisions
from booking_core.settings import BankSettings
from demo import airflow_api, clock, judge, picture, report, sample
from demo.bank import Bank
from demo.core_api import CoreApi
from demo.overlay import QUARTERS
from demo.play import Play, Stopped, play, wait_for
from demo.preflight import AlertPrograms, NotReady, Ports
from demo.processes import Fleet
from demo.services import Places
from demo.wishes import read_wishes, write_wishes

STEPS: Final = 9
STEPS_BEFORE_DAY: Final = 3
EVENING_QUARTERS: Final = 8
"""The refused come back from 18:00 to 20:00 of the same day."""
WORKERS_SECONDS: Final = 40.0
"""How long a move of the server target is waited for."""
START_SECONDS: Final = 90.0
TRAIN_SECONDS: Final = 900.0


@dataclass(slots=True)
class Teller:
    """Prints named steps with the seconds since the start."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    number: int = 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One named step: announced, and its duration told."""
        self.number += 1
        self.say(f"{self.number}/{STEPS} {name}", style="bold")
        before = time.monotonic()
        yield
        self.say(f"    done in {time.monotonic() - before:.1f} s", style="dim")

    def say(self, text: str, style: str | None = None) -> None:
        """One line with the elapsed seconds."""
        stamp = f"[{time.monotonic() - self.started:6.1f} s] "
        self.console.print(stamp + text, style=style, markup=False, highlight=False, soft_wrap=True)


@dataclass(slots=True)
class Story:
    """Everything one run knows; `tell` plays it from furnishing to the picture."""

    places: Places
    ports: Ports
    alerts: AlertPrograms
    fleet: Fleet
    bank: Bank
    teller: Teller
    quarter_seconds: float
    engine: Engine = field(init=False)
    airflow: airflow_api.Airflow = field(init=False)
    core: CoreApi = field(init=False)
    tokens: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.engine = make_engine(self.places.database_url)
        self.airflow = airflow_api.Airflow(self.ports)

    @property
    def stopping(self) -> threading.Event:
        """Set once the run is being stopped."""
        return self.fleet.stopping

    def tell(self) -> None:
        """The whole story. Raises Stopped when the run ends meanwhile, NotReady with a remedy."""
        self.furnish()
        self.start_core()
        self.start_around()
        if not self.one_day():
            self.teller.say("the sample's real days are used up; `rm -rf var` starts again from 2016-07-28")
        self.links()

    def one_day(self) -> bool:
        """Play the next day, train, retune and show; False when the sample has no more days."""
        settings = bank_settings(self.engine)
        eve = clock.next_eve(settings.business_now(datetime.now(UTC)), settings, sample.FIRST_EVE)
        day = eve + timedelta(days=1)
        if day > sample.LAST_DAY:
            return False
        wall_start = datetime.now(UTC)
        self.teller.number = STEPS_BEFORE_DAY
        self.play_day(eve, day, settings)
        before = judge.limits_of(self.engine, day, day)
        self.wait_for_airflow()
        self.train_and_retune(eve)
        self.come_back(eve, day, settings)
        self.prescale(day, settings)
        self.show(eve, day, before, wall_start, settings)
        return True

    # --- the steps ----------------------------------------------------------------------------------

    def furnish(self) -> None:
        """The database: migrated and filled at the first run, only migrated later."""
        if self.bank.is_furnished():
            with self.teller.step("database: reuse what an earlier run left in var/"):
                self.bank.run(["migrate"])
        else:
            with self.teller.step("database: create it and import the sample"):
                for told in self.bank.furnish(datetime.now(UTC)):
                    self.teller.say(f"    {told}")
                    self.check_stopping()
        self.tokens = self.bank.tokens(self.places)
        self.core = CoreApi(self.ports, self.tokens["operator"])

    def start_core(self) -> None:
        """API, dashboard and actuator; the dashboard's link as soon as it answers."""
        with self.teller.step("booking API and dashboard"):
            for name in ("api", "dashboard"):
                self.fleet.start(name)
            self.wait(self.core.ready, "the booking API (api.log)")
            self.teller.say(f"    API docs   http://127.0.0.1:{self.ports.api}/docs")
            self.wait(self.dashboard_answers, "the dashboard (dashboard.log)")
            self.teller.say(f"    DASHBOARD  http://127.0.0.1:{self.ports.dashboard}", style="bold green")
            self.fleet.start("actuator")

    def start_around(self) -> None:
        """Airflow, Prometheus and Alertmanager, which come up while the day is played."""
        with self.teller.step(
            "Airflow, Prometheus, Alertmanager: started, they come up while customers play"
        ):
            home = self.places.var / "airflow"
            home.mkdir(parents=True, exist_ok=True)
            if not (home / "migrated").exists():
                scheduler = self.fleet.services["airflow-scheduler"]
                command = [scheduler.command[0], "db", "migrate"]
                self.fleet.run_once("airflow-migrate", command, scheduler.env)
                (home / "migrated").touch()
            self.check_stopping()
            for name in self.fleet.services:
                if name.startswith("airflow-") or name in ("prometheus", "alertmanager", "alerts"):
                    self.fleet.start(name)
            if self.alerts.remedy:
                self.teller.say(f"    {self.alerts.remedy}", style="yellow")

    def play_day(self, eve: date, day: date, settings: BankSettings) -> None:
        """The wishes for `day` come during its eve, under the quotas as they stand."""
        with self.teller.step(f"live customers: the wishes for {day:%a %Y-%m-%d}, booked on the eve"):
            missed = self.bank.import_missed(eve)
            if missed:
                self.teller.say(
                    f"    imported {len(missed)} day(s) that nobody played: {missed[0]} to {missed[-1]}"
                )
            wishes = sample.wishes_of(day)
            self.bank.prepare_day(day, wishes, eve)
            self.bank.run(["set", f"quarter_seconds={self.quarter_seconds}"])
            if not self.has_quotas():
                limits = sample.standing_limits(eve)
                for limit in limits:
                    self.core.put_quota(limit.quota_id, limit.limit_units)
                self.teller.say(
                    f"    {len(limits)} standing quotas, guessed from an ordinary day of the last year"
                )
            self.teller.say(f"    {len(wishes):,} wishes within {QUARTERS * self.quarter_seconds:.0f} s")
            quarters = clock.quarters_of(eve, settings)
            self.act(Play(self.bank.wishes_file(day), quarters, 0, self.quarter_seconds), settings)

    def wait_for_airflow(self) -> None:
        """Airflow healthy, its DAGs read and running."""
        with self.teller.step("Airflow: healthy, DAGs read and unpaused"):
            self.wait(self.airflow.healthy, "Airflow (airflow-*.log)", timeout=180.0)
            self.airflow.log_in()
            for dag_id in ("train_demand", "retune", "prescale", "score"):
                try:
                    self.wait(lambda dag_id=dag_id: self.airflow.has_dag(dag_id), f"DAG {dag_id}")  # type: ignore[misc]
                except TimeoutError as error:
                    errors = "; ".join(self.airflow.import_errors()) or str(error)
                    raise NotReady(f"Airflow has not read DAG {dag_id}: {errors}") from error
                self.airflow.unpause(dag_id)

    def train_and_retune(self, period: date) -> None:
        """The period's training triggered, and the retune that its asset triggers, watched to their ends."""
        with self.teller.step(f"train_demand and retune for period {period}, in Airflow"):
            self.watch("train_demand", f"demo-{period}", {"period": period.isoformat()})
            self.watch("retune", None, {}, period=period.isoformat())

    def come_back(self, eve: date, day: date, settings: BankSettings) -> None:
        """Those who were refused and have no booking yet try again in the evening, under the new quotas."""
        with self.teller.step("the refused come back in the evening, under the new quotas"):
            loans = self.open_loans(day)
            wishes = [wish for wish in read_wishes(self.bank.wishes_file(day)) if wish.loan_ref in loans]
            count = max(1, len(wishes))
            again = [
                replace(wish, at_quarters=QUARTERS + EVENING_QUARTERS * n / count, on_refusal="follow")
                for n, wish in enumerate(wishes)
            ]
            path = self.bank.files / f"again-{day}.csv"
            write_wishes(again, path)
            quarters = clock.quarters_of(eve, settings, QUARTERS, QUARTERS + EVENING_QUARTERS)
            self.act(Play(path, quarters, QUARTERS, self.quarter_seconds), settings)
            still = len(self.open_loans(day))
            self.teller.say(f"    {len(again) - still:,} of {len(again):,} now have an appointment")

    def prescale(self, day: date, settings: BankSettings) -> None:
        """A server plan before the next workday's eve opens; the actuator follows it ahead of any load."""
        following = sample.next_workday(day)
        if following > sample.LAST_DAY:
            return
        eve = following - timedelta(days=1)
        with self.teller.step(
            f"prescale: servers ahead of {eve:%a %m-%d}, when {following:%a} is wished for"
        ):
            self.teller.say("    the evening is quiet: servers go back first")
            self.wait_for_target(lambda target: target == 1)
            before_opening = clock.quarters_of(eve, settings, -1, 0)[0]
            self.core.step_clock(before_opening, datetime.now(UTC))
            self.watch("prescale", f"demo-{eve}", {"period": before_opening.isoformat()})
            self.wait_for_target(lambda target: target > 1)

    def show(
        self, period: date, day: date, before: judge.Limits, wall_start: datetime, settings: BankSettings
    ) -> None:
        """The tables and the before/after picture."""
        with self.teller.step("what changed, and what it would have meant"):
            plans = [p for p in self.core.plans(kind="quota") if p["period"] == period.isoformat()]
            items = report.changed_items(self.engine, [plan["plan_id"] for plan in plans])
            after = judge.limits_of(self.engine, day, day)
            old, new = (judge.judge_day(self.engine, day, limits) for limits in (before, after))
            path = picture.before_after(self.places.var / "before_after.png", day=day, before=old, after=new)
            report.print_tables(
                self.teller.console,
                [
                    report.plan_table(plans, items, day),
                    report.totals_table(items),
                    report.quota_table(items, day),
                    report.workers_table(self.engine, wall_start, settings.tzinfo()),
                ],
            )
            self.teller.console.print()
            shares = f"{judge.served_share(old):.0%} under the old quotas, {judge.served_share(new):.0%} now"
            self.teller.say(f"served of the same {len(old):,} wishes for {day}: {shares}", style="bold")
            self.teller.say(f"before/after picture: {path}")

    def links(self) -> None:
        """Where to look next."""
        ports = self.ports
        rows = [
            ("dashboard", ports.dashboard, ""),
            ("booking API, docs", ports.api, "/docs"),
            ("Airflow", ports.airflow, "  (everyone on this machine is an admin)"),
        ]
        if self.alerts.remedy is None:
            rows += [("Prometheus", ports.prometheus, ""), ("Alertmanager", ports.alertmanager, "")]
        self.teller.console.print()
        for name, port, rest in rows:
            self.teller.console.print(
                f"  {name:18} http://127.0.0.1:{port}{rest}", markup=False, highlight=False
            )
        if self.alerts.remedy is not None:
            self.teller.console.print(f"  {self.alerts.remedy}", markup=False, highlight=False)

    # --- small parts --------------------------------------------------------------------------------

    def act(self, act: Play, settings: BankSettings) -> None:
        """Play, telling every business hour how it goes."""
        since = act.quarters[0]

        def told(hour: datetime) -> None:
            if hour > since:
                line = report.refusals_line(self.engine, since, hour)
                self.teller.say(f"    {hour.astimezone(settings.tzinfo()):%H:%M}  {line}")

        play(
            act, places=self.places, ports=self.ports, core=self.core, tokens=self.tokens,
            stopping=self.stopping, noted=self.fleet.note_session, told=told,
        )  # fmt: skip
        until = bank_settings(self.engine).business_now(datetime.now(UTC))
        self.teller.say(f"    in all {report.refusals_line(self.engine, since, until)}")

    def watch(self, dag_id: str, run_id: str | None, conf: dict[str, str], period: str | None = None) -> None:
        """Trigger the run (or find the one for the period) and tell its tasks as they end."""
        if run_id is not None:
            self.airflow.trigger(dag_id, run_id, conf)
        last = ""

        def ask() -> airflow_api.Run | None:
            nonlocal last
            self.check_stopping()
            run = self.airflow.run(dag_id, run_id) if run_id else self.newest(dag_id, period)
            if run is not None:
                tasks = self.airflow.tasks(dag_id, run.run_id)
                done = sum(state == "success" for _, state in tasks)
                told = f"{dag_id}: {run.state}, {done} of {len(tasks)} tasks done"
                if told != last:
                    self.teller.say(f"    {told}")
                    last = told
            return run

        final: airflow_api.Run | None = None
        for run in airflow_api.watch(ask, timeout_seconds=TRAIN_SECONDS):
            final = run
        if final is None or final.state != "success":
            tail = self.airflow.task_log_tail(dag_id, final.run_id) if final else []
            raise NotReady(
                f"Airflow run {dag_id} ended as {final.state if final else 'nothing'}:\n" + "\n".join(tail)
            )

    def newest(self, dag_id: str, period: str | None) -> airflow_api.Run | None:
        """The newest run of the DAG for the period (its partition key)."""
        for run in self.airflow.runs(dag_id):
            if run.partition_key == period or run.conf.get("period") == period:
                return run
        return None

    def wait_for_target(self, reached: Callable[[int], bool]) -> None:
        """Return when the actuator's last target is as wanted, or has not become so in time."""

        def moved() -> bool:
            decisions = scaling_decisions(self.engine, since_wall=datetime.now(UTC) - timedelta(hours=1))
            return not decisions.empty and reached(int(decisions["target"].iloc[-1]))

        with suppress(TimeoutError):
            self.wait(moved, "the server target", timeout=WORKERS_SECONDS)

    def open_loans(self, day: date) -> set[str]:
        """The loans whose wish for the day is neither booked nor given up."""
        e = t.wish_episodes.c
        with self.engine.connect() as connection:
            return set(connection.scalars(select(e.loan_ref).where(e.wished_day == day, e.outcome == "open")))

    def has_quotas(self) -> bool:
        """Whether standing quotas are set."""
        with self.engine.connect() as connection:
            return connection.execute(select(t.quotas.c.quota_id).limit(1)).first() is not None

    def dashboard_answers(self) -> bool:
        """Whether Streamlit serves."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.ports.dashboard}/_stcore/health", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def wait(self, ready: Callable[[], bool], what: str, timeout: float = START_SECONDS) -> None:
        """Return once it is ready."""
        wait_for(ready, what=what, timeout_seconds=timeout, stopping=self.stopping)

    def check_stopping(self) -> None:
        """Raise Stopped when the run is being stopped."""
        if self.stopping.is_set():
            raise Stopped
