"""What customers and operators read, in English and Chinese: one title and one detail for each reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from booking_core.words import word_zh
from metrics.contract import PlanRefusal, Reason

LANGUAGES: Final = ("en", "zh")


class Text(NamedTuple):
    """A title and a detail; the detail may mention context values as {name}."""

    title: str
    detail: str


class _Context(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "–"


def text_of(reason: Reason | PlanRefusal, language: str, context: Mapping[str, str]) -> Text:
    """The reason's text in the language ("en" or "zh"), its context filled in.

    Chinese has its own word for a value where the context gives one (`what_zh` for `what`), or the value is
    a status or the like.
    """
    title, detail = CASES.get(context.get("case", ""), TEXTS[reason])[LANGUAGES.index(language)]
    values = _Context(context)
    if language == "zh":
        own = {name: word_zh(name, value) for name, value in context.items()}
        values = _Context(own | {name.removesuffix("_zh"): own[name] for name in own if name.endswith("_zh")})
    return Text(title, detail.format_map(values))


def promise_text(by: str | None, chance: float, latest_day: str, language: str) -> str:
    """What is promised, in the language ("en" or "zh"): the day, else the chance by the last one."""
    sentence = _PROMISES[by is not None][LANGUAGES.index(language)]
    return sentence.format(day=by or latest_day, percent=round(chance * 1000) // 10)


def language_of(accept_language: str | None) -> str:
    """The language to answer in: "zh" where Accept-Language weighs Chinese above English, else "en"."""
    best, weight = "en", 0.0
    for part in (accept_language or "").split(","):
        tag, _, parameters = part.strip().partition(";")
        quality = parameters.partition(";")[0].strip().lower().removeprefix("q=") or "1"
        try:
            value = float(quality)
        except ValueError:
            continue
        language = tag.strip().lower().split("-")[0]
        if language in LANGUAGES and value > weight:
            best, weight = language, value
    return best


def _pair(en: tuple[str, str], zh: tuple[str, str]) -> tuple[Text, Text]:
    return Text(*en), Text(*zh)


TEXTS: Final[dict[Reason | PlanRefusal, tuple[Text, Text]]] = {
    Reason.QUOTA_DAY_FULL: _pair(
        (
            "The day is full",
            (
                "All {limit} appointments of {scope} on {period_start} are taken. "
                "Take one of the free slots offered below."
            ),
        ),
        ("当日名额已满", "{scope} 在 {period_start} 的 {limit} 个名额已约满，请从下方可约号源中选择。"),
    ),
    Reason.QUOTA_WEEK_FULL: _pair(
        (
            "The week is full",
            (
                "All {limit} appointments of {scope} in the week from {period_start} are taken. "
                "Take a slot of another week or branch."
            ),
        ),
        ("本周名额已满", "{scope} 自 {period_start} 起一周的 {limit} 个名额已约满，请选择其他周或其他网点。"),
    ),
    Reason.QUOTA_MONTH_FULL: _pair(
        (
            "The month is full",
            (
                "All {limit} appointments of {scope} in the month from {period_start} are taken. "
                "Take a slot of another month or branch."
            ),
        ),
        (
            "本月名额已满",
            "{scope} 自 {period_start} 起当月的 {limit} 个名额已约满，请选择其他月份或其他网点。",
        ),
    ),
    Reason.SLOT_FULL: _pair(
        ("The slot is full", "All {limit} places of slot {slot} are taken. Other slots are offered below."),
        ("该时段已约满", "号源 {slot} 的 {limit} 个名额已约满，下方列出其他可约时段。"),
    ),
    Reason.FUNDS_CAP_REACHED: _pair(
        (
            "The day's funds do not suffice",
            (
                "Prepayments of {scope} on {period_start} may add up to {limit} CNY; {used} CNY are taken. "
                "Choose another day or a smaller amount."
            ),
        ),
        (
            "当日还款资金额度不足",
            "{scope} 在 {period_start} 的还款额度为 {limit} 元，已占用 {used} 元，请选择其他日期或减少金额。",
        ),
    ),
    Reason.INVALID_FIELD: _pair(
        ("A field does not fit", "Correct {fields} as `errors` says and send the request again."),
        ("字段填写有误", "请按 errors 的说明更正 {fields} 后重新提交。"),
    ),
    Reason.MISSING_FIELD: _pair(
        ("A field is missing", "Add {fields} as `errors` says and send the request again."),
        ("缺少必填字段", "请按 errors 的说明补充 {fields} 后重新提交。"),
    ),
    Reason.AMOUNT_OUT_OF_RANGE: _pair(
        ("The amount is out of range", "{amount} CNY is not between {low} and {high} CNY."),
        ("金额超出范围", "{amount} 元不在 {low} 元至 {high} 元之间。"),
    ),
    Reason.LOAN_NOT_FOUND: _pair(
        ("No such loan", "There is no loan {loan} that you may book for. Check the loan number."),
        ("未找到该贷款", "没有您可预约的贷款 {loan}，请核对贷款编号。"),
    ),
    Reason.LOAN_NOT_ELIGIBLE: _pair(
        (
            "The loan cannot be prepaid",
            "Loan {loan} cannot be prepaid on that day: status {status}, eligible from {eligible_from} on.",
        ),
        (
            "该贷款暂不可提前还款",
            "贷款 {loan} 该日不可提前还款：状态“{status}”，起始日 {eligible_from}。",
        ),
    ),
    Reason.NOTICE_TOO_SHORT: _pair(
        (
            "Too soon",
            "The slot starts at {start}; book at least {minutes} minutes ahead, that is from {earliest} on.",
        ),
        ("预约时间过近", "该时段于 {start} 开始，须至少提前 {minutes} 分钟预约，即 {earliest} 之后的时段。"),
    ),
    Reason.OUTSIDE_BOOKING_WINDOW: _pair(
        (
            "Outside the booking window",
            "The slot starts at {start}; slots after {earliest} and until {last_day} can be booked.",
        ),
        ("不在可预约期内", "该时段于 {start} 开始；可预约 {earliest} 之后至 {last_day} 的时段。"),
    ),
    Reason.SLOT_CLOSED: _pair(
        ("The slot is closed", "The branch does not serve slot {slot}. Take another one."),
        ("该时段已关闭", "网点不办理号源 {slot}，请选择其他时段。"),
    ),
    Reason.DUPLICATE_BOOKING: _pair(
        (
            "The loan has a booking already",
            "Booking {booking} of this loan is live. Keep it, or cancel it first.",
        ),
        ("该贷款已有预约", "该贷款已有有效预约 {booking}，请保留或先取消。"),
    ),
    Reason.HOLD_EXPIRED: _pair(
        (
            "The hold is over",
            "Booking {booking} is {status}, so its place was given back. Book a slot again.",
        ),
        ("占位已失效", "预约 {booking} 的状态为“{status}”，名额已释放，请重新预约。"),
    ),
    Reason.IDEMPOTENCY_CONFLICT: _pair(
        (
            "The request differs from the first one",
            "This was asked before with other content. Send a new Idempotency-Key for a new request.",
        ),
        ("与首次请求内容不一致", "该请求此前以不同内容提交过；新的请求请使用新的 Idempotency-Key。"),
    ),
    Reason.SYSTEM_BUSY: _pair(
        (
            "Very busy at the moment",
            (
                "The service is at its limit. Try again in "
                "{retry_after} s with the same key: nothing was booked."
            ),
        ),
        ("系统繁忙", "系统当前繁忙，请在 {retry_after} 秒后使用同一请求重试，本次未占用名额。"),
    ),
    Reason.TIMEOUT: _pair(
        (
            "It took too long",
            (
                "The service did not finish in time. Try again with the same Idempotency-Key: "
                "you will not be booked twice."
            ),
        ),
        ("处理超时", "系统未能及时完成处理，请使用同一 Idempotency-Key 重试，不会重复预约。"),
    ),
    Reason.DEPENDENCY_DOWN: _pair(
        (
            "A system behind is down",
            "The database does not answer. Try again in {retry_after} s with the same Idempotency-Key.",
        ),
        ("后台系统不可用", "数据库暂时无法访问，请在 {retry_after} 秒后使用同一 Idempotency-Key 重试。"),
    ),
    Reason.INTERNAL_ERROR: _pair(
        (
            "Something broke here",
            (
                "The fault is ours and is logged under the trace "
                "id. Try again, or tell the trace id to the bank."
            ),
        ),
        ("系统内部错误", "系统出现故障并已按 trace_id 记录，请重试或将 trace_id 提供给银行。"),
    ),
    Reason.UNAUTHENTICATED: _pair(
        (
            "Who are you?",
            "Send a valid token as `Authorization: Bearer …`; `python -m booking_core token` issues one.",
        ),
        (
            "未通过身份验证",
            "请在 Authorization: Bearer 中提供有效令牌；令牌由 python -m booking_core token 签发。",
        ),
    ),
    Reason.FORBIDDEN: _pair(
        ("Not allowed", "This token may not do that: {needs}."),
        ("无权执行", "该令牌无权执行此操作：{needs}。"),
    ),
    Reason.RATE_LIMITED: _pair(
        ("Too many requests", "Wait {retry_after} s before the next request."),
        ("请求过于频繁", "请在 {retry_after} 秒后再试。"),
    ),
    PlanRefusal.PLAN_NOT_FOUND: _pair(
        ("No such plan", "There is no plan {plan_id}. GET /v1/plans lists them."),
        ("未找到该计划", "没有计划 {plan_id}，可用 GET /v1/plans 查询。"),
    ),
    PlanRefusal.PLAN_OLDER_PERIOD: _pair(
        (
            "An older period",
            "Plan {plan_id} is for {period}, before {applied_period} of the applied plan {applied_plan_id}.",
        ),
        (
            "计划周期较旧",
            "计划 {plan_id} 的周期 {period} 早于已生效计划 {applied_plan_id} 的周期 {applied_period}。",
        ),
    ),
    PlanRefusal.PLAN_WRONG_STATUS: _pair(
        (
            "The plan's status does not allow it",
            "Plan {plan_id} is {status}, which does not allow to {command} it.",
        ),
        ("计划状态不允许", "计划 {plan_id} 当前状态为“{status}”，不能{command}。"),
    ),
    PlanRefusal.PLAN_NEEDS_APPROVAL: _pair(
        (
            "The plan waits for approval",
            (
                "Plan {plan_id} lies outside the guard band; an operator "
                "approves it with POST /v1/plans/{plan_id}/approve."
            ),
        ),
        (
            "计划待审批",
            "计划 {plan_id} 超出自动区间，须由运营人员通过 POST /v1/plans/{plan_id}/approve 批准。",
        ),
    ),
    PlanRefusal.PLAN_OVER: _pair(
        ("The plan's days are over", "Nothing that plan {plan_id} raises can be booked any more."),
        ("计划日期已过", "计划 {plan_id} 所增加的名额均已无法预约。"),
    ),
    PlanRefusal.NOTHING_TO_RAISE: _pair(
        (
            "There is no limit to raise",
            (
                "Nothing limits {levels}, so that plan {plan_id} raises nothing there and was not applied. "
                "Where a limit should stand, set it with PUT /v1/quotas/ID, then apply the plan again."
            ),
        ),
        (
            "没有可提高的限额",
            (
                "{levels} 没有限额，计划 {plan_id} 无可提高，因此未应用。如需限额，请先通过 "
                "PUT /v1/quotas/ID 设置，再应用该计划。"
            ),
        ),
    ),
    PlanRefusal.PLAN_ID_CONFLICT: _pair(
        ("The plan id is taken", "Plan {plan_id} exists with another body. Choose a new id."),
        ("计划编号冲突", "计划 {plan_id} 已以不同内容存在，请使用新的编号。"),
    ),
    PlanRefusal.REGION_IN_SHADOW: _pair(
        (
            "The region is in shadow mode",
            (
                "Plans of {region} are made and scored but not "
                "applied until it is granted automatic application."
            ),
        ),
        ("该地区处于影子模式", "{region} 的计划只生成和评分，获准自动应用前不会生效。"),
    ),
    PlanRefusal.REGION_FIXED: _pair(
        (
            "A person has set the region's mode",
            (
                "Scores do not change the mode of {region}, which is {mode}, until an operator "
                "hands it back with PUT /v1/control/autonomy/{region} and the mode earned."
            ),
        ),
        (
            "该地区的模式由人工设定",
            (
                "{region} 的模式为“{mode}”，评分不会改变它；运营人员可通过 "
                "PUT /v1/control/autonomy/{region}（mode 为 earned）交还给评分。"
            ),
        ),
    ),
    PlanRefusal.PAUSED: _pair(
        ("Plans are paused", "No plan is applied until an operator resumes with POST /v1/control/resume."),
        ("计划已暂停", "在运营人员通过 POST /v1/control/resume 恢复之前不会应用任何计划。"),
    ),
    PlanRefusal.QUOTA_NOT_FOUND: _pair(
        (
            "No such quota",
            (
                "{quota_id} names no scope of this bank, or no limit stands there; expected "
                "scope_kind:scope_id:channel:period_kind, with channel * for a funds_day."
            ),
        ),
        (
            "未找到该名额设置",
            (
                "{quota_id} 不是本行的范围，或该处没有限额；格式为 scope_kind:scope_id:channel:period_kind，"
                "funds_day 的渠道须为 *。"
            ),
        ),
    ),
    PlanRefusal.RESOURCE_NOT_FOUND: _pair(
        ("Not found", "There is no {what}."),
        ("未找到", "没有 {what}。"),
    ),
}

CASES: Final[dict[str, tuple[Text, Text]]] = {
    "overdue": _pair(
        (
            "The plan's deadline has passed",
            (
                "Nobody decided on plan {plan_id} by {deadline}; it counts as rejected. "
                "The next proposal can be decided again."
            ),
        ),
        ("计划已过审批期限", "计划 {plan_id} 在 {deadline} 之前无人审批，视为已驳回；可审批下一份计划。"),
    ),
    "wrong_status": _pair(
        (
            "The booking's status does not allow it",
            "Booking {booking} is {status}, which does not allow this.",
        ),
        ("预约状态不允许", "预约 {booking} 的状态为“{status}”，不能进行此操作。"),
    ),
    "other_day": _pair(
        (
            "Not the day of the appointment",
            "Booking {booking} is {status} for {day}; today is {today}, and check-in is on the day itself.",
        ),
        (
            "非预约办理日",
            "预约 {booking} 的状态为“{status}”，办理日为 {day}；今天是 {today}，仅可在当日签到。",
        ),
    ),
    "not_begun": _pair(
        (
            "The appointment has not begun",
            "Booking {booking} is {status} and starts at {start}; that nobody came is known from then on.",
        ),
        ("预约尚未开始", "预约 {booking} 的状态为“{status}”，于 {start} 开始，此后方可登记爽约。"),
    ),
}
"""Texts of a reason in a special case, named by `case` in its context."""

_PROMISES: Final = {
    True: (
        "An offer by {day} at the latest, with a chance of {percent} %.",
        "最迟 {day} 为您提供名额，可能性为 {percent}%。",
    ),
    False: (
        "No day can be promised; the chance of an offer by {day} is {percent} %.",
        "暂时无法承诺日期；{day} 前（含当日）提供名额的可能性为 {percent}%。",
    ),
}
"""Whether a day is promised, and how that is told; percents are rounded down."""
