"""Failure reasons, causes, guardrails and statuses in words: names, and what to do about each."""

from __future__ import annotations

from typing import Final, NamedTuple

from metrics.contract import Cause, Reason


class Words(NamedTuple):
    """One text in each language of the dashboard."""

    en: str
    zh: str


CAUSES: Final[dict[Cause, Words]] = {
    Cause.CAPACITY: Words("Capacity", "容量"),
    Cause.INPUT: Words("Input", "输入"),
    Cause.RULE: Words("Rule", "规则"),
    Cause.SYSTEM: Words("System", "系统"),
    Cause.ACCESS: Words("Access", "权限"),
}

REASONS: Final[dict[Reason, Words]] = {
    Reason.QUOTA_DAY_FULL: Words("Day quota full", "日配额已满"),
    Reason.QUOTA_WEEK_FULL: Words("Week quota full", "周配额已满"),
    Reason.QUOTA_MONTH_FULL: Words("Month quota full", "月配额已满"),
    Reason.SLOT_FULL: Words("Slot full", "时段已满"),
    Reason.FUNDS_CAP_REACHED: Words("Funds cap reached", "资金上限已到"),
    Reason.INVALID_FIELD: Words("Invalid field", "字段无效"),
    Reason.MISSING_FIELD: Words("Missing field", "缺少字段"),
    Reason.AMOUNT_OUT_OF_RANGE: Words("Amount out of range", "金额超出范围"),
    Reason.LOAN_NOT_FOUND: Words("Loan not found", "未找到贷款"),
    Reason.LOAN_NOT_ELIGIBLE: Words("Loan not eligible", "贷款不符合条件"),
    Reason.NOTICE_TOO_SHORT: Words("Notice too short", "提前时间不足"),
    Reason.OUTSIDE_BOOKING_WINDOW: Words("Outside booking window", "超出可预约日期"),
    Reason.SLOT_CLOSED: Words("Slot closed", "时段已关闭"),
    Reason.DUPLICATE_BOOKING: Words("Duplicate booking", "重复预约"),
    Reason.HOLD_EXPIRED: Words("Hold expired", "预留已过期"),
    Reason.IDEMPOTENCY_CONFLICT: Words("Request key reused", "请求键重复使用"),
    Reason.SYSTEM_BUSY: Words("System busy", "系统繁忙"),
    Reason.TIMEOUT: Words("Timeout", "请求超时"),
    Reason.DEPENDENCY_DOWN: Words("Dependency down", "依赖服务不可用"),
    Reason.INTERNAL_ERROR: Words("Internal error", "内部错误"),
    Reason.UNAUTHENTICATED: Words("Not signed in", "未登录"),
    Reason.FORBIDDEN: Words("Not allowed", "无权限"),
    Reason.RATE_LIMITED: Words("Too many requests", "请求过于频繁"),
}

ADVICE: Final[dict[Reason, Words]] = {
    Reason.QUOTA_DAY_FULL: Words(
        "Compare quota and forecast under Peak pressure; approve the pending plan or raise the quota.",
        "在“高峰压力”页比较当日配额与预测需求；批准待审方案或上调配额。",
    ),
    Reason.QUOTA_WEEK_FULL: Words(
        "Day quotas may be free while the week binds: check the week limit in the latest plan.",
        "可能日配额有余而周配额已满：查看最新方案中的周限额。",
    ),
    Reason.QUOTA_MONTH_FULL: Words(
        "Check the month limit in the latest plan; offer the first days of next month.",
        "查看最新方案中的月限额；引导客户预约下月初。",
    ),
    Reason.SLOT_FULL: Words(
        "The hour is short of staff, not the day: move staff to the popular hours or steer to free ones.",
        "不是当日配额而是该时段人手不足：调配人员，或引导至空闲时段。",
    ),
    Reason.FUNDS_CAP_REACHED: Words(
        "Ask treasury to raise the cap, or offer a later day.", "请资金部门提高上限，或改约更晚的日期。"
    ),
    Reason.INVALID_FIELD: Words(
        "See which field is refused most and fix its check or its hint in the app.",
        "查看哪个字段最常被拒，修正应用中的校验或提示。",
    ),
    Reason.MISSING_FIELD: Words(
        "Prefill the field from the loan, or stop asking for it.", "用贷款信息预填该字段，或不再要求填写。"
    ),
    Reason.AMOUNT_OUT_OF_RANGE: Words(
        "Show the smallest and largest amount before the customer types.",
        "在客户输入前显示最低和最高金额。",
    ),
    Reason.LOAN_NOT_FOUND: Words("Check that the latest loan import ran.", "检查最近一次贷款导入是否完成。"),
    Reason.LOAN_NOT_ELIGIBLE: Words(
        "Say in the app from which day the loan may be repaid early.",
        "在应用中说明该贷款最早可提前还款的日期。",
    ),
    Reason.NOTICE_TOO_SHORT: Words(
        "Hide slots that start too soon from the calendar.", "日历中不再显示即将开始的时段。"
    ),
    Reason.OUTSIDE_BOOKING_WINDOW: Words(
        "Open slots further ahead, or widen the booking window.", "开放更远日期的时段，或延长可预约期。"
    ),
    Reason.SLOT_CLOSED: Words(
        "Check why the slot was closed; remove it from cached calendars.",
        "核实关闭原因；从缓存日历中移除该时段。",
    ),
    Reason.DUPLICATE_BOOKING: Words(
        "Show the customer the booking they already have.", "向客户显示其已有的预约。"
    ),
    Reason.HOLD_EXPIRED: Words("Shorten the form, or lengthen the hold.", "缩短表单，或延长预留时间。"),
    Reason.IDEMPOTENCY_CONFLICT: Words(
        "A channel reuses request keys: tell its developers.", "某渠道重复使用请求键：通知其开发人员。"
    ),
    Reason.SYSTEM_BUSY: Words(
        "Requests were shed: see workers running against target under Peak pressure.",
        "请求被限流：在“高峰压力”页查看运行与目标进程数。",
    ),
    Reason.TIMEOUT: Words(
        "Look at latency and the database pool for those minutes.", "查看当时的延迟与数据库连接池。"
    ),
    Reason.DEPENDENCY_DOWN: Words(
        "Follow the alert's runbook; the refused wishes are recorded.", "按告警手册处理；被拒的需求已记录。"
    ),
    Reason.INTERNAL_ERROR: Words(
        "Search the logs for the trace id; report it as a defect.", "用追踪号检索日志；作为缺陷上报。"
    ),
    Reason.UNAUTHENTICATED: Words("Check the channel's token and its expiry.", "检查该渠道的令牌及有效期。"),
    Reason.FORBIDDEN: Words(
        "Check the scopes and region claim of the channel's token.", "检查该渠道令牌的权限与区域。"
    ),
    Reason.RATE_LIMITED: Words(
        "Find the caller that retries too fast; tell it to honour Retry-After.",
        "找出重试过快的调用方；要求其遵守 Retry-After。",
    ),
}

STATUSES: Final[dict[str, Words]] = {
    "proposed": Words("Proposed", "已提出"),
    "pending": Words("Waits for approval", "待审批"),
    "shadow": Words("Shadow mode", "影子模式"),
    "kept": Words("Kept as it was", "维持不变"),
    "approved": Words("Approved", "已批准"),
    "applied": Words("Applied", "已生效"),
    "superseded": Words("Superseded", "已被替代"),
    "rolled_back": Words("Rolled back", "已回滚"),
    "rejected": Words("Rejected", "已驳回"),
}

VERDICTS: Final[dict[str, Words]] = {
    "max_step_up": Words("largest step up", "最大上调幅度"),
    "max_step_down": Words("largest step down", "最大下调幅度"),
    "floor": Words("lowest quota", "最低配额"),
    "ceiling": Words("highest quota", "最高配额"),
    "staff_cap": Words("staff on duty", "在岗人手"),
    "funds_cap": Words("the day's funds", "当日资金"),
    "never_below_used": Words("never below booked", "不低于已预约"),
    "frozen": Words("frozen day", "冻结日"),
    "min_workers": Words("fewest workers", "最少进程数"),
    "max_workers": Words("most workers", "最多进程数"),
    "stale": Words("forecast too old", "预测已过期"),
    "short": Words("too little history", "历史数据不足"),
    "worse_than_weeks8": Words("worse than the 8-week baseline", "不如 8 周基线"),
    "coverage_off": Words("band misses too often", "区间覆盖不足"),
    "training_failed": Words("training failed", "训练失败"),
    "mostly_unfit": Words("most series unfit", "多数序列不可用"),
    "drift": Words("live errors beyond the promise", "实际误差超出回测承诺"),
    "no_forecast": Words("no forecast", "没有预测"),
    "distrusted": Words("live forecast distrusted", "实时预测不可信"),
    "bad_plans": Words("plans before it cost more than none", "此前计划的代价高于不做计划"),
    "timeout": Words("nobody decided in time", "逾期无人审批"),
    "paused": Words("plans are paused", "计划已暂停"),
    "total_up": Words("total rises beyond the guard band", "总量上调超出护栏"),
    "total_down": Words("total falls beyond the guard band", "总量下调超出护栏"),
    "channel_share": Words("all channels together", "全渠道合计"),
    "special_period": Words("extra units for a special period", "特殊时段临时名额"),
    "emergency": Words("emergency units", "应急名额"),
    "mostly_clipped": Words("forecast runs into step limits", "预测频繁触及步长限制"),
}

SCALING: Final[dict[str, Words]] = {
    "steady": Words("nothing to change", "无需调整"),
    "observed_load": Words("observed load", "实际负载"),
    "forecast": Words("forecast", "预测"),
    "scale_in": Words("load has stayed low", "负载持续偏低"),
    "stabilising": Words("waits until load has stayed low", "等待负载持续走低"),
    "error_storm": Words("too many errors to take workers away", "错误过多，不减少进程"),
    "step_up_limit": Words("largest step up", "最大上调幅度"),
    "step_down_limit": Words("largest step down", "最大下调幅度"),
    "min_workers": Words("fewest workers", "最少进程数"),
    "max_workers": Words("most workers", "最多进程数"),
    "forecast_only": Words("only written down, not carried out", "仅记录，不执行"),
}
"""Why the actuator set its target (booking_core.scaling.ScalingReason)."""

MODELS: Final[dict[str, Words]] = {
    "champion": Words("champion", "冠军模型"),
    "weeks8": Words("8-week baseline", "8 周基线"),
    "keep": Words("keep", "维持"),
    "prophet": Words("Prophet", "Prophet"),
    "combination": Words("combination of models", "多模型组合"),
    "daytype": Words("day types on a moving level", "日类型模型"),
    "daily_profile": Words("day total by profile", "日总量按时段分布"),
    "borrowed": Words("borrowed from like branches", "借用同类网点"),
    "seasonal_naive": Words("same day last week", "上周同日"),
}


def pick(words: Words, language: str) -> str:
    """The text in the language ("zh", else English)."""
    return words.zh if language == "zh" else words.en


def named(table: dict[str, Words], key: object, language: str) -> str:
    """The name of a status, verdict or model; an unknown one is shown as it is, a missing one as "–"."""
    if not isinstance(key, str) or not key:
        return "–"
    return pick(table[key], language) if key in table else key.replace("_", " ")


def reason_name(reason: object, language: str) -> str:
    """The reason in words; one that this version does not know is shown as it is."""
    return named({str(r): words for r, words in REASONS.items()}, reason, language)


def cause_name(cause: object, language: str) -> str:
    """The cause in words."""
    return named({str(c): words for c, words in CAUSES.items()}, cause, language)


def advice(reason: str, language: str) -> str:
    """What to do about the reason."""
    return named({str(r): words for r, words in ADVICE.items()}, reason, language)
