"""Which regions apply plans by themselves: what scores say, and what a person fixes against them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from booking_core import tables as t
from booking_core.api.app import create_app
from booking_core.database import write_transaction
from booking_core.importing import BadInputError, import_branches
from booking_core.service.tokens import issue_token
from tests.support.bank import Bank
from tests.support.desk import Desk, draft

Ask = Callable[..., Response]
EARNED = {"region": "north", "mode": "automatic", "reason": "28 days cost 12 % less"}


@pytest.fixture
def ask(bank: Bank) -> Iterator[Ask]:
    """Asks the API of each database, as the holder of a scope's token; region north starts in shadow."""
    set_automatic(bank, automatic=False)
    app = create_app(bank.engine, registry=CollectorRegistry(), housekeeping=False)
    with TestClient(app, raise_server_exceptions=False) as client:

        def asked(method: str, path: str, body: object = None, **token: str) -> Response:
            scope = token.pop("scope", "planner")
            with write_transaction(bank.engine) as connection:
                secret = issue_token(connection, name=f"a {scope}", scopes=[scope], **token)
            headers = {"Authorization": f"Bearer {secret}"}
            return client.request(method, f"/v1/control/autonomy{path}", json=body, headers=headers)

        yield asked


def set_automatic(bank: Bank, *, automatic: bool) -> None:
    """Put every region into the mode, as nobody's decision."""
    with write_transaction(bank.engine) as connection:
        connection.execute(t.regions.update().values(automatic_application=automatic))


def changes(bank: Bank) -> list[tuple[str, dict[str, object]]]:
    """(actor, what it became) of every change of a mode."""
    a = t.audit.c
    with bank.engine.connect() as connection:
        rows = connection.execute(
            select(a.actor, a.after).where(a.action == "region.mode").order_by(a.audit_id)
        )
        return list(rows.tuples())


def test_scores_earn_and_lose_automatic_application(ask: Ask, bank: Bank) -> None:
    """A planner's word moves the mode both ways; plans follow; the reason is told, audited, and said once."""
    told = ask("POST", "", EARNED).json()
    assert (told["mode"], told["fixed"], told["reason"]) == ("automatic", False, EARNED["reason"])
    assert ask("POST", "", EARNED | {"reason": "again"}).json() == told, "it is automatic already"
    desk = Desk(bank)
    assert desk("create", draft("p1")).row.status == "proposed"
    lost = ask("POST", "", EARNED | {"mode": "shadow", "reason": "28 days cost 9 % more"}).json()
    assert (lost["mode"], lost["fixed"], lost["reason"]) == ("shadow", False, "28 days cost 9 % more")
    assert desk("create", draft("p2")).row.status == "shadow"
    assert changes(bank) == [
        ("a planner", {"mode": "automatic", "fixed": False, "reason": "28 days cost 12 % less"}),
        ("a planner", {"mode": "shadow", "fixed": False, "reason": "28 days cost 9 % more"}),
    ]


@pytest.mark.parametrize(("fixed", "wished"), [("shadow", "automatic"), ("automatic", "shadow")])
def test_what_a_person_fixed_no_score_changes(ask: Ask, bank: Bank, fixed: str, wished: str) -> None:
    """The scores' wish is refused with a reason in words until the person hands the region back."""
    told = ask("PUT", "/north", {"mode": fixed, "reason": "audit"}, scope="operator").json()
    assert (told["mode"], told["fixed"], told["reason"]) == (fixed, True, "audit")
    again = ask("PUT", "/north", {"mode": fixed}, scope="operator").json()
    other = ask("PUT", "/north", {"mode": fixed, "reason": "still"}, scope="operator").json()
    assert (again, other["reason"]) == (told, "still"), "no reason leaves the one there is"
    assert [after["reason"] for _, after in changes(bank)] == ["audit", "still"]
    refused = ask("POST", "", EARNED | {"mode": wished})
    assert (refused.status_code, refused.json()["reason"]) == (409, "region_fixed")
    assert fixed in refused.json()["detail"]
    assert ask("GET", "", scope="reader").json()["regions"][0]["mode"] == fixed
    handed = ask("PUT", "/north", {"mode": "earned"}, scope="operator").json()
    assert (handed["mode"], handed["fixed"]) == (fixed, False), "handing back changes no mode"
    assert ask("POST", "", EARNED | {"mode": wished}).json()["mode"] == wished


@pytest.mark.parametrize(
    ("method", "path", "body", "token", "status"),
    [
        ("POST", "", EARNED, {"scope": "reader"}, 403),
        ("POST", "", EARNED, {"region": "south"}, 403),
        ("POST", "", EARNED | {"region": "west"}, {}, 404),
        ("POST", "", EARNED | {"mode": "earned"}, {}, 400),
        ("POST", "", {"region": "north", "mode": "automatic"}, {}, 400),
        ("PUT", "/north", {"mode": "shadow"}, {}, 403),
        ("PUT", "/west", {"mode": "shadow"}, {"scope": "operator"}, 404),
        ("PUT", "/north", {"mode": "off"}, {"scope": "operator"}, 400),
        ("GET", "", None, {"scope": "channel"}, 403),
    ],
)
def test_who_may_not_and_what_is_not(
    ask: Ask, bank: Bank, method: str, path: str, body: object, token: dict[str, str], status: int
) -> None:
    """Scopes, region claims, unknown regions and modes; nothing is changed."""
    bank.add_region("south")
    assert ask(method, path, body, **token).status_code == status
    assert changes(bank) == []


def test_a_region_claim_sees_its_own_region_only(ask: Ask, bank: Bank) -> None:
    """The list of modes is cut to the claim."""
    bank.add_region("south")
    seen = ask("GET", "", scope="reader", region="south").json()["regions"]
    assert [row["region"] for row in seen] == ["south"]
    assert len(ask("GET", "", scope="reader").json()["regions"]) == 2


@pytest.mark.parametrize("said", ["true", "false"])
def test_importing_grants_new_regions_only(ask: Ask, bank: Bank, tmp_path: Path, said: str) -> None:
    """A file says in which mode a region begins, audited; what stands it leaves, and says so."""
    file = tmp_path / "branches.csv"
    head = "branch_id,region_id,region_name_en,region_name_zh,name_en,name_zh,staff_cap_units"

    def imported(word: str) -> str:
        rows = "".join(f"{r}9,{r},R,R,B,B,,{word}\n" for r in ("north", "west"))
        file.write_text(f"{head},automatic_application\n{rows}")
        with write_transaction(bank.engine) as connection:
            return import_branches(connection, str(file))

    def modes() -> dict[str, tuple[bool, bool]]:
        with bank.engine.connect() as connection:
            return {
                row.region_id: (row.automatic_application, row.automatic_fixed)
                for row in connection.execute(select(t.regions))
            }

    ask("PUT", "/north", {"mode": "shadow", "reason": "audit"}, scope="operator")
    told = imported(said)
    granted = said == "true"
    assert modes() == {"north": (False, True), "west": (granted, granted)}
    assert ("region north stays shadow" in told) is granted
    by_import = [("import-branches", {"mode": "automatic", "fixed": True, "reason": None})]
    assert changes(bank)[1:] == (by_import if granted else [])

    ask("PUT", "/north", {"mode": "earned"}, scope="operator")
    ask("POST", "", EARNED)
    before, written = modes(), changes(bank)
    assert "region north stays automatic" in imported("false")
    assert "stays" not in imported(""), "a file without a word on it says nothing against it"
    assert (modes(), changes(bank)) == (before, written)


def test_a_file_that_contradicts_itself_on_a_region_is_refused(bank: Bank, tmp_path: Path) -> None:
    """Of two lines that say differently how a region begins neither is taken."""
    file = tmp_path / "branches.csv"
    file.write_text(
        "branch_id,region_id,region_name_en,region_name_zh,name_en,name_zh,staff_cap_units,automatic_application\n"
        "w1,west,W,W,B,B,,true\nw2,west,W,W,B,B,,\nw3,west,W,W,B,B,,no\n"
    )
    expected = (
        r"line 4, column automatic_application: got 'no', expected the same in every line of region west"
    )
    with pytest.raises(BadInputError, match=expected), write_transaction(bank.engine) as connection:
        import_branches(connection, str(file))
