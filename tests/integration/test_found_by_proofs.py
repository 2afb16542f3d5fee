"""What the proofs found, each shown by the shortest way to it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from booking_core import serving
from booking_core.database import write_transaction
from booking_core.domain import QuotaKey
from booking_core.service import changes
from booking_core.service.housekeeping import sweep
from booking_core.store import quotas
from metrics.contract import PeriodKind, ScopeKind
from tests.support.bank import Bank
from tests.support.fairness import Queue
from tests.support.levels import levels
from tests.support.queueing import join
from tests.support.serving import serve
from tests.support.wishes import Wall, asking, book, core_on, ref


def test_an_offer_refused_under_locks_is_not_passed_by_later_ones(sqlite_bank: Bank) -> None:
    """Two branches share a region's day: who misses it keeps their turn for the other day of their wish."""
    bank = sqlite_bank
    bank.add_branch("b2")
    wall = Wall()
    core = core_on(bank.engine, wall)
    days = [bank.today + timedelta(days=n) for n in (2, 3)]
    slots = [bank.add_slot(b, day, capacity=1) for b in ("b1", "b2") for day in days]
    holds = [ref(book(core, bank.add_loan(f"H{n}"), slot)) for n, slot in enumerate(slots)]
    for n, branch in enumerate(["b1", "b1", "b2", "b2"]):
        join(core, bank, bank.add_loan(f"W{n}"), branch=branch, latest_day=days[1])
    for hold in holds:
        changes.cancel(core, asking(), hold)
    first_day = (QuotaKey(ScopeKind.REGION, "north", PeriodKind.DAY), days[0])
    with write_transaction(bank.engine) as connection:
        quotas.make_counters(connection, [first_day])
        quotas.set_overrides(connection, {first_day: (1, None)})
    before = levels(bank.engine)
    sweep(core)
    Queue(levels(bank.engine), wall()).assert_in_order(since=before)


def test_a_worker_killed_while_it_made_its_metric_file_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker left half made is put away; raised there, it would end the whole server."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    (tmp_path / "counter_77.db").touch()
    worker: Any = SimpleNamespace(pid=77)
    serving.compact_metrics(None, worker)


def test_figures_are_told_though_a_worker_was_killed_while_it_made_its_file(sqlite_bank: Bank) -> None:
    """An empty metric file is no figure, and no fault of all others."""
    with serve(sqlite_bank.url) as served:
        (served.run_dir / "prometheus" / "counter_77.db").touch()
        assert httpx.get(f"{served.url}/metrics").status_code == 200
