"""Logs that machines read, and counters that are there before anything happened."""

from __future__ import annotations

import io
import json
import logging

from prometheus_client import CollectorRegistry

from metrics.contract import Channel, OfferOutcome, Reason, Shown
from metrics.instruments import UNKNOWN_CHANNEL, Instruments
from metrics.logs import JsonFormatter, hashed, trace_id_of, trace_id_var


def test_a_line_is_one_object_with_trace_and_hashed_ids() -> None:
    """Extra values are kept, ids of loans and customers only as hashes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("test.lines")
    logger.propagate = False
    logger.addHandler(handler)
    token = trace_id_var.set("a" * 32)
    logger.warning("two\nlines %s", 7, extra={"loan": "L-secret", "seconds": 0.5})
    trace_id_var.reset(token)
    line = json.loads(stream.getvalue())
    assert (line["level"], line["message"], line["trace_id"]) == ("warning", "two\nlines 7", "a" * 32)
    assert (line["loan"], line["seconds"]) == (hashed("L-secret"), 0.5)
    assert "L-secret" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_a_fault_is_logged_with_its_traceback() -> None:
    """An exception is a field of the same line."""
    fault = ValueError("broken")
    record = logging.LogRecord("t", logging.ERROR, "f", 1, "fault", (), (ValueError, fault, None))
    assert "ValueError: broken" in json.loads(JsonFormatter().format(record))["exception"]


def test_a_trace_id_is_taken_over_only_if_well_formed() -> None:
    """W3C traceparent is taken over; anything else gets a new id."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace_id_of(f"00-{trace}-00f067aa0ba902b7-01") == trace
    for wrong in (None, "", trace, f"00-{'0' * 32}-00f067aa0ba902b7-01", f"ff-{trace}-00f067aa0ba902b7-01"):
        made = trace_id_of(wrong)
        assert made != trace
        assert len(made) == 32


def test_every_label_is_counted_from_zero() -> None:
    """Each label value stands at 0 before it first happens, which rate() would lose otherwise."""
    registry = CollectorRegistry()
    Instruments(registry)
    for channel in (*Channel, UNKNOWN_CHANNEL):
        for reason in Reason:
            labels = {"channel": channel, "outcome": "refused", "reason": reason}
            assert registry.get_sample_value("booking_attempts_total", labels) == 0
        held = {"channel": channel, "outcome": "held", "reason": ""}
        assert registry.get_sample_value("booking_attempts_total", held) == 0
    for shown in Shown:
        assert registry.get_sample_value("booking_shown_free_total", {"outcome": shown}) == 0
    for offer in OfferOutcome:
        assert registry.get_sample_value("booking_waitlist_offers_total", {"outcome": offer}) == 0
