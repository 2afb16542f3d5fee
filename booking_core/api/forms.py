"""Bodies: what a request may say, and what is wrong with it, field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

from fastapi import Depends, Request
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from booking_core.domain import FieldError, Refused, Wish
from booking_core.service.bookings import Told
from booking_core.service.changes import Settlement
from booking_core.words import field_fault_zh
from metrics.contract import Channel, Reason

BODY_BYTES: Final = 65_536
CENT: Final = Decimal("0.01")
REF: Final = r"^[A-Za-z0-9._:@-]+$"
"""Characters of a loan, slot, branch or booking reference."""
NO_NUL: Final = r"^[^\x00]*$"
"""What a database takes as text."""

Ref = Annotated[str, Field(min_length=1, max_length=96, pattern=REF)]
LoanRef = Annotated[str, Field(min_length=1, max_length=64, pattern=REF)]
Amount = Annotated[
    Decimal, Field(gt=0, max_digits=14, decimal_places=2), AfterValidator(lambda a: a.quantize(CENT))
]
Option = Literal["shorten_term", "reduce_instalment", "full"]
Contact = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
OneChannel = Annotated[Channel, WithJsonSchema({"type": "string", "enum": [*Channel]})]


def _told_as_text(value: Any) -> Any:
    """The value, unless it is a number, which pydantic would take for seconds since 1970."""
    if value is not None and not (isinstance(value, str) and "-" in value[1:]):
        text = "expected a time with offset, e.g. 2026-03-02T10:00:00+08:00"
        raise PydanticCustomError("datetime_parsing", text)
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_told_as_text)]


class BookingForm(BaseModel):
    """The body of POST /v1/bookings; with amount and option the booking is confirmed at once."""

    model_config = ConfigDict(extra="forbid")

    loan: LoanRef
    slot: Ref
    channel: OneChannel
    amount: Amount | None = Field(None, description="CNY")
    option: Option | None = None
    contact: Contact | None = None

    def wish(self) -> Wish:
        """What the customer asks for."""
        return Wish(
            loan_ref=self.loan,
            slot_id=self.slot,
            channel=self.channel,
            amount_cny=self.amount,
            option=self.option,
            contact=self.contact,
        )


class ConfirmForm(BaseModel):
    """The body of POST /v1/bookings/{ref}/confirm."""

    model_config = ConfigDict(extra="forbid")

    amount: Amount = Field(description="CNY")
    option: Option
    contact: Contact | None = None

    def settlement(self) -> Settlement:
        """What the hold is confirmed with."""
        return Settlement(self.amount, self.option, self.contact)


class RescheduleForm(BaseModel):
    """The body of POST /v1/bookings/{ref}/reschedule; without a channel the booking keeps its own."""

    model_config = ConfigDict(extra="forbid")

    slot: Ref
    channel: OneChannel | None = None


class CompleteForm(BaseModel):
    """The body of POST /v1/bookings/{ref}/complete: wall times, by default from the check-in until now."""

    model_config = ConfigDict(extra="forbid")

    service_started: Moment | None = None
    service_ended: Moment | None = None


F = TypeVar("F", bound=BaseModel)


async def raw_body(request: Request) -> bytes:
    """The body as sent, cut one byte above the limit (which `parse` then refuses)."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            return body[: BODY_BYTES + 1]
    return body


Body = Annotated[bytes, Depends(raw_body)]


def body_schema(form: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The OpenAPI entry of a route that parses this form itself."""
    content = {"application/json": {"schema": form.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}


def parse(form: type[F], raw: bytes) -> tuple[F | Refused, Told]:
    """The form, or a refusal that names every field; and what could be read of the wish either way."""
    if len(raw) > BODY_BYTES:
        return _refuse(f"body above {BODY_BYTES} bytes", f"请求体超过 {BODY_BYTES} 字节"), Told()
    try:
        data = _JSON.decode(raw.decode(json.detect_encoding(raw), "surrogatepass"))
    except json.JSONDecodeError as fault:
        at = f"line {fault.lineno}, column {fault.colno}"
        text_zh = f"第 {fault.lineno} 行第 {fault.colno} 列不是有效的 JSON"
        return _refuse(f"malformed JSON at {at}: {fault.msg}; expected one JSON object", text_zh), Told()
    except (ValueError, RecursionError) as fault:
        text = f"malformed JSON: {fault}; expected one JSON object in UTF-8"
        return _refuse(text, "不是有效的 JSON"), Told()
    if not isinstance(data, dict):
        text = f"expected one JSON object, got {type(data).__name__}"
        return _refuse(text, "请求体应为一个 JSON 对象"), Told()
    try:
        return form.model_validate(data), _told(data)
    except ValidationError as fault:
        return field_errors([{**e, "loc": ("body", *e["loc"])} for e in fault.errors()]), _told(data)


def field_errors(faults: Sequence[Mapping[str, Any]]) -> Refused:
    """Pydantic's errors as one refusal: missing_field if all that is wrong is missing fields.

    `loc` begins with body, query, path or header; a body field is told as JSON pointer, others as query:name;
    what is wrong with the body as a whole has the pointer "".
    """
    errors = []
    for fault in faults:
        where, *loc = fault["loc"]
        message = fault["msg"]
        if where == "body" and fault["type"] == "json_invalid":
            message = f"malformed JSON at character {loc.pop()}: {fault['ctx']['error']}"
        elif where == "body" and not loc:
            message = f"expected one JSON object, sent as application/json ({message})"
        parts = [str(part).replace("~", "~0").replace("/", "~1") for part in loc]
        pointer = "".join(f"/{part}" for part in parts) if where == "body" else f"{where}:{'/'.join(parts)}"
        zh = field_fault_zh(fault["type"], message, fault.get("ctx", {}))
        errors.append(FieldError(pointer, message, zh))
    only_missing = all(fault["type"] == "missing" for fault in faults)
    reason = Reason.MISSING_FIELD if only_missing else Reason.INVALID_FIELD
    return Refused(reason, errors=tuple(errors), context=fields_told(errors))


def fields_told(
    errors: Sequence[FieldError], whole: tuple[str, str] = ("the body", "请求体")
) -> dict[str, str]:
    """The fields as a refusal's text names them; whole: what the pointer "" is called in English, Chinese."""
    en, zh = (", ".join(dict.fromkeys(e.pointer or name for e in errors)) for name in whole)
    return {"fields": en, "fields_zh": zh}


def _told(data: dict[str, Any]) -> Told:
    """The references and the channel that are readable, whatever else is wrong."""

    def reference(name: str) -> str | None:
        value = data.get(name)
        readable = isinstance(value, str) and 0 < len(value) <= 64 and value.isascii() and value.isprintable()  # noqa: PLR2004
        return value if readable else None

    channel = data.get("channel")
    known = _CHANNELS.get(channel) if isinstance(channel, str) else None
    return Told(reference("loan"), reference("slot"), known)


def _refuse(message_en: str, message_zh: str) -> Refused:
    error = FieldError("", message_en, message_zh)
    return Refused(Reason.INVALID_FIELD, errors=(error,), context=fields_told([error]))


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, no name of which may stand twice: which of the two was meant is not ours to guess."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for n, (name, _) in enumerate(pairs) if name in dict(pairs[:n]))
        raise ValueError(f"{twice[:64]!r} stands twice in one object")
    return found


def _number(text: str) -> Decimal:
    """The number, exact. Raises ValueError for an exponent beyond what Decimal can hold."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:64]} is too great or too small a number") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_JSON: Final = json.JSONDecoder(
    parse_float=_number, parse_constant=_no_constant, object_pairs_hook=_once_each
)
_CHANNELS: Final = {channel.value: channel for channel in Channel}
