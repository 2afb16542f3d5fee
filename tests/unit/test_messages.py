"""What customers read: a text for every reason, in both languages, with its values filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from booking_core.api import app
from booking_core.api.control import ModeForm
from booking_core.api.forms import field_errors
from booking_core.domain import Refused
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


@pytest.mark.parametrize(
    ("reason", "context", "says"),
    [
        (PlanRefusal.PLAN_WRONG_STATUS, {"status": "rolled_back", "command": "apply"}, "“已回滚”，不能应用"),
        (
            PlanRefusal.PLAN_WRONG_STATUS,
            {"case": "overdue", "deadline": "2026-03-02T10:00:00+00:00"},
            "在 2026-03-02T10:00:00+00:00 之前无人审批",
        ),
        (PlanRefusal.REGION_FIXED, {"region": "north", "mode": "shadow"}, "north 的模式为“影子模式”"),
        (Reason.LOAN_NOT_ELIGIBLE, {"loan": "closed", "status": "closed"}, "贷款 closed 该日"),
        (PlanRefusal.RESOURCE_NOT_FOUND, {"what": "roster r1", "what_zh": "排班 r1"}, "没有 排班 r1。"),
        (Reason.FORBIDDEN, {"needs": "a token", "needs_zh": "需要令牌"}, "：需要令牌。"),
    ],
)
def test_chinese_has_its_own_words_for_values(
    reason: Reason | PlanRefusal, context: dict[str, str], says: str
) -> None:
    """Statuses, modes and commands are translated, names are not; a thing is told by its Chinese name."""
    assert says in text_of(reason, "zh", context).detail


WRONG: list[Any] = [
    None, True, -1, 0, 2.5, 1e30, 10**12, 10**30, float("nan"), 123456789, "", "x", "\x00", "\ud800",
    "x" * 3000, "2026-02-30", "2026-03-02T10:00", "0001-01-01T00:00:00+14:00", "12.345", "9" * 30,
    [], ["x"] * 30_000, {}, {"x": float("inf")},
]  # fmt: skip


def models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Every body and part of a body that the API knows."""
    for model in base.__subclasses__():
        yield from models(model)
        if model.__module__.startswith("booking_core."):
            yield model


def test_every_fault_of_a_field_is_told_in_chinese() -> None:
    """Whatever is wrong with a field of any body, there is a Chinese text; no text shows a Python name."""
    assert app.create_app  # all bodies are known once it is imported
    told: dict[str, str] = {}
    for model in models(BaseModel):
        for name, field in model.model_fields.items():
            for wrong in WRONG:
                try:
                    model.model_validate({field.alias or name: wrong})
                except ValidationError as fault:
                    found = faults(fault).errors
                    told |= {
                        f"{model.__name__} {name} {e.pointer} {e.message_en}": e.message_zh for e in found
                    }
    assert len(told) > 200
    foreign = {fault: zh for fault, zh in told.items() if "不符合要求" in zh or not re.search("[一-鿿]", zh)}
    assert foreign == {}
    assert not [fault for fault in told if re.search(r"<\w+\.\w+:", fault)]


def faults(fault: ValidationError) -> Refused:
    """The faults of a body as the API tells them."""
    return field_errors([{**e, "loc": ("body", *e["loc"])} for e in fault.errors()])


def test_a_mode_is_refused_by_its_names() -> None:
    """What may be asked for is told as it is written, in both languages."""
    with pytest.raises(ValidationError) as fault:
        ModeForm.model_validate({"mode": "off"})
    [error] = faults(fault.value).errors
    assert error.message_en == "Input should be 'shadow', 'automatic' or 'earned'"
    assert error.message_zh == "不是可选值，可选：'shadow'、'automatic'、'earned'"


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
