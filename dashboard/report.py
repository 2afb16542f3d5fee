"""A period's bookings and plans as one HTML page, for a schedule to file or to mail.

`python -m dashboard.report --since DAY --until DAY --output FILE [--region R] [--language zh]`
"""

from __future__ import annotations

import argparse
from datetime import date, datetime, time, timedelta
from html import escape
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pandas as pd
from sqlalchemy import Engine

from booking_core.database import make_engine
from booking_core.read import bank, failures, plans
from dashboard import takeaways
from dashboard.reasons import MODELS, STATUSES, VERDICTS, advice, cause_name, named, reason_name
from dashboard.texts import LANGUAGES, full_day_name, number, percent, text

STYLE: Final = (
    "body{font:15px/1.5 'Source Sans','Noto Sans CJK SC',sans-serif;max-width:60rem;"
    "margin:2rem auto;color:#17212b}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .6rem;"
    "border-bottom:1px solid #dbe3ec}th{color:#5b6b7b;font-weight:600}"
)


def period_report(
    engine: Engine, *, since: date, until: date, region: str | None = None, language: str = "en"
) -> str:
    """The report of the bank-local days since..until (both included), as a complete HTML page."""
    zone = bank.bank_settings(engine).tzinfo()
    span = {"since": _midnight(since, zone), "until": _midnight(until + timedelta(days=1), zone)}
    totals = failures.totals(engine, **span, region=region)
    reasons = failures.by_reason(engine, **span, region=region)
    branches = failures.by_branch(engine, **span, region=region)
    names = {"since": full_day_name(since, language), "until": full_day_name(until, language)}
    title = text("report_title", language, **names)
    figures = [
        [text(key, language), value]
        for key, value in (
            ("attempts", number(totals.attempts)),
            ("held", number(totals.held)),
            ("refused_share", percent(totals.refused_ratio)),
            ("unmet", number(totals.unmet + totals.open)),
        )
    ]
    parts = [
        f"<h1>{escape(title)}</h1>",
        _table([], figures),
        f"<h2>{escape(text('reasons_and_advice', language))}</h2>",
        _table(
            [text(key, language) for key in ("reason", "cause", "refused", "what_to_do")],
            [
                [
                    reason_name(row["reason"], language),
                    cause_name(row["cause"], language),
                    number(row["attempts"]),
                    advice(str(row["reason"]), language),
                ]
                for row in reasons.to_dict("records")
            ],
        )
        if len(reasons)
        else f"<p>{escape(text('no_refusals', language))}</p>",
        f"<p>{escape(takeaways.refusals_by_branch(branches, language))}</p>" if len(reasons) else "",
        f"<h2>{escape(text('plans', language))}</h2>",
        _plans(engine, since, until, region, language),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="{language}"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _plans(engine: Engine, since: date, until: date, region: str | None, language: str) -> str:
    """The quota plans made on these days, as a table."""
    made = plans.plans(engine, kind="quota", region=region, periods=(since, until), limit=None)
    if made.empty:
        return f"<p>{escape(text('no_plans', language))}</p>"
    totals = plans.plan_totals(engine, list(made["plan_id"])).set_index("plan_id").to_dict("index")
    rows = []
    for plan in made.to_dict("records"):
        total = totals.get(plan["plan_id"])
        change = f"{number(total['old_units'])} → {number(total['new_units'])}" if total else "–"
        rows.append(
            [
                plan["plan_id"],
                named(STATUSES, plan["status"], language),
                change,
                named(MODELS, plan["model"], language),
                named(VERDICTS, plan["verdict"], language),
            ]
        )
    return _table([text(key, language) for key in ("plan", "status", "change", "model", "verdict")], rows)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return pd.Timestamp(datetime.combine(day, time())).tz_localize(zone).tz_convert("UTC").to_pydatetime()


def _table(head: list[str], rows: list[list[str]]) -> str:
    """An HTML table, its cells escaped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if head else ''}{body}</table>"


def main(arguments: list[str] | None = None) -> None:
    """Write the report of a period to a file."""
    parser = argparse.ArgumentParser(prog="python -m dashboard.report", description=period_report.__doc__)
    parser.add_argument("--since", type=date.fromisoformat, required=True, metavar="DAY")
    parser.add_argument("--until", type=date.fromisoformat, required=True, metavar="DAY")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--region")
    parser.add_argument("--language", choices=tuple(LANGUAGES), default="en")
    given = parser.parse_args(arguments)
    engine = make_engine(read_only=True)
    page = period_report(
        engine, since=given.since, until=given.until, region=given.region, language=given.language
    )
    engine.dispose()
    given.output.write_text(page, encoding="utf-8")
    print(f"{given.output}: {given.since} to {given.until}")


if __name__ == "__main__":
    main()
