"""What customers read: a text for every reason, in both languages, with its values filled in."""

from __future__ import annotations

import re

import pytest

from booking_core.messages import CASES, TEXTS, Text, language_of, text_of
from booking_core.problems import problem
from metrics.contract import CAUSE_OF, Cause, PlanRefusal, Reason

REASONS = [*Reason, *PlanRefusal]


@pytest.mark.parametrize("pair", [*TEXTS.values(), *CASES.values()], ids=[*TEXTS, *CASES])
def test_every_reason_has_both_texts(pair: tuple[Text, Text]) -> None:
    """Each reason, and each special case of one, has a title and a detail in English and in Chinese."""
    en, zh = pair
    assert en.title
    assert en.detail.endswith((".", "…"))
    assert re.search("[\u4e00-\u9fff]", zh.title)
    assert re.search("[\u4e00-\u9fff]", zh.detail)
    assert set(re.findall(r"{(\w+)}", en.detail)) == set(re.findall(r"{(\w+)}", zh.detail))


@pytest.mark.parametrize("reason", REASONS)
def test_a_text_never_shows_a_hole(reason: Reason | PlanRefusal) -> None:
    """A value that is not known is shown as a dash."""
    assert "{" not in text_of(reason, "en", {}).detail


def test_a_case_is_told_instead_of_the_reasons_own_text() -> None:
    """Where the context names a case, that text is told, with its values."""
    told = text_of(
        Reason.HOLD_EXPIRED, "en", {"case": "wrong_status", "booking": "B1", "status": "completed"}
    )
    assert told.detail == "Booking B1 is completed, which does not allow this."


def test_every_reason_has_a_cause() -> None:
    """The contract names the cause of each reason."""
    assert set(CAUSE_OF) == set(Reason)
    assert set(CAUSE_OF.values()) == set(Cause)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("zh", "zh"),
        ("zh-Hans-CN", "zh"),
        ("en;q=0.8, zh;q=0.9", "zh"),
        ("zh;q=0.1, en-GB", "en"),
        ("zh;q=high", "en"),
        ("*", "en"),
        ("zh;Q=0.9;level=1", "zh"),
        ("en;q=, zh;q=nan,=;", "en"),
    ],
)
def test_the_language_follows_the_weights(header: str | None, language: str) -> None:
    """Chinese is spoken where it is weighed above English."""
    assert language_of(header) == language


def test_retry_after_is_told_only_where_a_retry_may_succeed() -> None:
    """Rule refusals carry no waiting time."""
    ask = {"language": "en", "trace_id": "0" * 32, "retry_after_seconds": 5}
    full, closed = problem(Reason.SLOT_FULL, **ask), problem(Reason.SLOT_CLOSED, **ask)  # type: ignore[arg-type]
    assert (full["retryable"], full["retry_after"]) == (True, 5)
    assert (closed["retryable"], closed["retry_after"]) == (False, None)
