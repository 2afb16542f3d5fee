"""Every page of the dashboard draws without an exception: empty, filled, unmigrated, in both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import streamlit as st
from sqlalchemy import update
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from booking_core import tables as t
from booking_core.database import write_transaction
from dashboard import core
from dashboard.report import main as write_report
from dashboard.texts import text
from tests.support.bank import Bank
from tests.support.recorded import DAY, NOON, filled, plan, put
from tests.support.tools import free_port

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")
PAGES = ("failures", "pressure", "plans")
MANY_SECONDS = 60


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine and no cache of another test reaches a page."""
    for name in ("SLOTCAST_REGION", "SLOTCAST_OPERATOR_TOKEN", "SLOTCAST_ALERTMANAGER_URL"):
        monkeypatch.delenv(name, raising=False)
    st.cache_data.clear()
    st.cache_resource.clear()


def at_noon(bank: Bank) -> Bank:
    """The bank, its business clock moved to NOON of the recorded day."""
    offset = int((NOON - datetime.now(UTC)).total_seconds() // 900 * 900) + 900
    bank.set("business_offset_seconds", offset)
    return bank


def opened(page: str, url: str, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    """The page as drawn on the database, opened with the query parameters."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", url)
    app = AppTest.from_file(APP, default_timeout=MANY_SECONDS)
    for name, value in query.items():
        app.query_params[name] = value
    app._page_hash = calc_hash("" if page == "failures" else page)  # AppTest switches to files only
    return app.run()


def words(app: AppTest) -> str:
    """All text on the page."""
    parts = [*app.title, *app.markdown, *app.caption, *app.button]
    said = [str(getattr(part, "value", "")) + str(getattr(part, "label", "")) for part in parts]
    said += [f"{metric.label} {metric.value}" for metric in app.metric]
    said += [table.value.to_string() for table in app.table]
    return "\n".join(said)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", PAGES)
def test_a_filled_bank_draws_every_page(
    page: str, language: str, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception, the page's own title, no empty state."""
    app = opened(page, at_noon(filled(bank)).url, monkeypatch, lang=language)
    assert not app.exception
    assert app.title[0].value == text(page, language)
    shown = words(app)
    for key in ("no_attempts", "no_demand", "no_plans", "no_database", "not_migrated"):
        assert text(key, language) not in shown
    assert text("synthetic_badge", language) in shown
    assert text("alerts_off", language) in shown


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("page", "remedy"), [("failures", "no_attempts"), ("pressure", "no_demand"), ("plans", "no_plans")]
)
def test_an_empty_bank_says_what_to_do(
    page: str, remedy: str, language: str, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page shows its friendly empty state instead of charts."""
    app = opened(page, bank.url, monkeypatch, lang=language)
    assert not app.exception
    assert text(remedy, language) in words(app)
    assert text(f"{remedy}_help", language) in words(app)
    assert text("synthetic_badge", language) not in words(app)


@pytest.mark.parametrize("page", PAGES)
def test_an_unmigrated_database_gets_a_one_line_remedy(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing file names the command to run, and is not created by looking at it."""
    file = tmp_path / "none.db"
    app = opened(page, f"sqlite:///{file}", monkeypatch)
    assert not app.exception
    assert "python -m booking_core migrate" in words(app)
    assert not file.exists()


@pytest.mark.parametrize(
    "url", ["postgresql://nobody:secret@127.0.0.1:{port}/none", "mysql://x/y", "not a url"]
)
def test_an_unreachable_database_gets_a_one_line_remedy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers, or the URL is wrong: what to check is said, the password is not."""
    app = opened("failures", url.format(port=free_port()), monkeypatch)
    assert not app.exception
    assert "SLOTCAST_DATABASE_URL" in words(app)
    assert "secret" not in words(app)


def test_figures_count_what_was_refused_and_say_what_to_do(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts, held and refusals by reason are on the page, with advice for each."""
    app = opened("failures", at_noon(filled(sqlite_bank)).url, monkeypatch)
    shown = words(app)
    assert "Attempts 3" in shown
    assert "Held 1" in shown
    assert re.search(r"Day quota full\s+Capacity\s+1\s+50 %\s+Compare quota and forecast", shown)
    assert re.search(r"Slot full\s+Capacity\s+1", shown)


def test_a_region_claim_binds_the_dashboard(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """With SLOTCAST_REGION=south the north is neither counted nor offered, whatever the URL asks."""
    monkeypatch.setenv("SLOTCAST_REGION", "south")
    app = opened("failures", at_noon(filled(sqlite_bank)).url, monkeypatch, region="north")
    assert app.selectbox(key="region").options == ["South"]
    assert "Attempts 1" in words(app)
    assert "Day quota full" not in words(app)


def test_filters_come_from_the_url_and_go_back_to_it(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link opens its view; a nonsense value falls back; a choice is written to the URL."""
    url = at_noon(filled(sqlite_bank)).url
    app = opened("failures", url, monkeypatch, region="north", days="28", lang="xx")
    assert app.selectbox(key="region").value == "north"
    assert str(app.query_params["days"]) == "28"
    assert app.title[0].value == text("failures", "en")
    app.selectbox(key="region").select("south").run()
    assert "south" in app.query_params["region"]
    assert "Attempts 1" in words(app)


def test_without_a_token_plans_can_only_be_read(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """No button, and the page says why."""
    app = opened("plans", at_noon(filled(sqlite_bank)).url, monkeypatch)
    assert not app.button
    assert text("read_only", "en") in words(app)


class FakeCore(BaseHTTPRequestHandler):
    """Records what was asked of the core; approves p1, refuses everything else with a problem."""

    asked: list[tuple[str, str | None]]

    def do_POST(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        good = self.path == "/v1/plans/p1/approve"
        problem = b'{"title":"Paused","detail":"Resume first","reason":"paused"}'
        body = b'{"status":"approved"}' if good else problem
        self.send_response(200 if good else 409)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'[{"labels":{"alertname":"BookingDown"}},{"labels":{"alertname":"BookingDown"}}]')

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def fake_core() -> Iterator[str]:
    """The address of a core that answers as FakeCore does."""
    FakeCore.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeCore)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_pending_plan_comes_first_and_is_approved_over_http(
    sqlite_bank: Bank, fake_core: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button posts with the operator's token; the dashboard itself writes nothing.

    However many regions have a newer plan.
    """
    bank = at_noon(filled(sqlite_bank))
    newer = (plan(f"newer{n}", region_id=f"r{n}", period="2026-04-01") for n in range(60))
    put(bank, t.plans, *newer)
    with write_transaction(bank.engine) as connection:
        changed = {"status": "pending", "in_band": False, "verdict": "total_up"}
        connection.execute(update(t.plans).where(t.plans.c.plan_id == "p1").values(changed))
    monkeypatch.setenv("SLOTCAST_OPERATOR_TOKEN", "t0ken")
    monkeypatch.setenv("SLOTCAST_API_URL", fake_core)
    monkeypatch.setenv("SLOTCAST_ALERTMANAGER_URL", fake_core)
    app = opened("plans", bank.url, monkeypatch)
    assert app.selectbox(key="plan").value == "p1"
    assert "total rises beyond the guard band" in words(app)
    assert "Firing: BookingDown" in words(app)
    app.button(key="command_approve").click().run()
    assert FakeCore.asked == [("/v1/plans/p1/approve", "Bearer t0ken")]
    assert not app.exception
    assert "p1: Approved" in [toast.value for toast in app.toast]


def test_a_refused_command_is_told_in_the_cores_words(fake_core: str) -> None:
    """Title, detail and reason of the problem reach the operator; an unreachable core is an answer too."""
    answer = core.Core(fake_core, "t").plan("p2", "apply")
    assert answer == core.Answer(ok=False, message="Paused: Resume first [paused]")
    gone = core.Core(f"http://127.0.0.1:{free_port()}", "t").control("pause")
    assert not gone.ok
    assert "ConnectError" in gone.message
    assert core.alerts(f"http://127.0.0.1:{free_port()}") == core.Alerts(reachable=False)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_holds_the_periods_figures(
    language: str, sqlite_bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HTML file counts the same attempts and lists the plans made on those days."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", filled(sqlite_bank).url)
    file = tmp_path / "report.html"
    arguments = ["--since", "2026-03-30", "--until", DAY.isoformat(), "--output", str(file)]
    later = (plan(f"later{n}", region_id=f"r{n}", period="2026-05-01") for n in range(501))
    put(sqlite_bank, t.plans, *later)
    write_report([*arguments, "--language", language])
    page = file.read_text(encoding="utf-8")
    assert "<td>later1</td>" not in page
    assert f"<td>{text('attempts', language)}</td><td>3</td>" in page
    assert "<td>p1</td>" in page
    write_report(["--since", "2020-01-01", "--until", "2020-01-02", "--output", str(file)])
    assert text("no_refusals", "en") in file.read_text(encoding="utf-8")
