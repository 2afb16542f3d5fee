"""Every label and sentence of the dashboard in English and Chinese, and dates in words."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from dashboard.reasons import Words, pick

LANGUAGES: Final = {"en": "English", "zh": "中文"}

TEXTS: Final[dict[str, Words]] = {
    # frame
    "failures": Words("Why bookings fail", "预约为何失败"),
    "pressure": Words("Peak pressure", "高峰压力"),
    "plans": Words("Plans", "配额方案"),
    "region": Words("Region", "区域"),
    "whole_bank": Words("Whole bank", "全行"),
    "period": Words("Period", "时间范围"),
    "today": Words("Today", "今天"),
    "last_days": Words("{days} days", "近 {days} 天"),
    "business_time": Words("Business time", "业务时间"),
    "demo_clock": Words("Demo clock: not the time on the wall", "演示时钟：与实际时间不同"),
    "alerts_off": Words("Alerts off", "告警未启用"),
    "alerts_off_help": Words(
        "Alertmanager is not reachable. Start it and set SLOTCAST_ALERTMANAGER_URL.",
        "无法连接 Alertmanager。请启动它并设置 SLOTCAST_ALERTMANAGER_URL。",
    ),
    "alerts_quiet": Words("No alert fires", "当前无告警"),
    "alerts_firing": Words("Firing: {names}", "告警中：{names}"),
    "paused": Words("Plans are paused", "方案已暂停"),
    "paused_help": Words(
        "No plan is applied until an operator resumes.", "在操作员恢复之前，不会有方案生效。"
    ),
    "synthetic_badge": Words("Sample with synthetic parts", "样例数据，含合成部分"),
    "synthetic_help": Words(
        "This bank is a sample. The month-end surge, the shape of a day and live customers are synthetic.",
        "这是样例银行。月末高峰、日内分布和实时客户均为合成数据。",
    ),
    "table": Words("Table", "数据表"),
    # remedies
    "no_database": Words("The database cannot be read", "无法读取数据库"),
    "no_database_help": Words(
        "Check SLOTCAST_DATABASE_URL ({url}), then run `python -m booking_core migrate`.",
        "请检查 SLOTCAST_DATABASE_URL（{url}），然后运行 `python -m booking_core migrate`。",
    ),
    "not_migrated": Words("The database is empty", "数据库为空"),
    "not_migrated_help": Words(
        "Run `python -m booking_core migrate` on {url}, then reload this page.",
        "请对 {url} 运行 `python -m booking_core migrate`，然后刷新本页。",
    ),
    "no_attempts": Words("No booking was attempted in this period", "该时间范围内没有预约尝试"),
    "no_attempts_help": Words(
        "Choose a longer period, or start `python -m booking_core serve` and book through it.",
        "请选择更长的时间范围，或运行 `python -m booking_core serve` 启动服务后再预约。",
    ),
    "no_refusals": Words("Nothing was refused in this period.", "该时间范围内没有被拒的预约。"),
    "no_demand": Words("No demand is known yet", "尚无需求数据"),
    "no_demand_help": Words(
        "Import history with `python -m booking_core import-history --input FILE --source NAME`.",
        "请导入历史：`python -m booking_core import-history --input FILE --source NAME`。",
    ),
    "no_forecast": Words("No forecast is ready.", "尚无可用预测。"),
    "no_forecast_help": Words(
        "Trigger the DAG train_demand, or run `python -m forecasting train --period DAY`.",
        "请触发 DAG train_demand，或运行 `python -m forecasting train --period DAY`。",
    ),
    "no_pressure": Words("No request was counted today.", "今天尚未统计到请求。"),
    "no_plans": Words("No plan has been made yet", "尚无方案"),
    "no_plans_help": Words(
        "Trigger the DAG retune, or run `python -m forecasting propose --period DAY`.",
        "请触发 DAG retune，或运行 `python -m forecasting propose --period DAY`。",
    ),
    # why bookings fail
    "attempts": Words("Attempts", "预约尝试"),
    "held": Words("Held", "成功预留"),
    "refused": Words("Refused", "被拒"),
    "refused_share": Words("Refused share", "被拒比例"),
    "unmet": Words("Unmet demand", "未满足需求"),
    "attempts_help": Words(
        "Every try to take a slot, accepted or not.", "每一次预约时段的尝试，无论成功与否。"
    ),
    "refused_share_help": Words("Refused ÷ attempts.", "被拒 ÷ 预约尝试。"),
    "unmet_help": Words(
        "Wishes first made in this period that still have no booking: given up, or trying on.",
        "该时间范围内首次提出、至今没有预约的需求：已放弃或仍在尝试。",
    ),
    "of_wishes": Words("of {wishes} wishes", "共 {wishes} 个需求"),
    "refusals_over_time": Words("Refusals over time, by reason", "各原因被拒次数的变化"),
    "refusals_by_branch": Words("Refusals by branch", "各网点被拒次数"),
    "reasons_and_advice": Words("Reasons, and what to do", "原因与对策"),
    "reason": Words("Reason", "原因"),
    "cause": Words("Cause", "类别"),
    "what_to_do": Words("What to do", "对策"),
    "share": Words("Share", "占比"),
    "branch": Words("Branch", "网点"),
    "top_reason": Words("Top reason", "首要原因"),
    "time": Words("Time", "时间"),
    "refusals": Words("refusals", "被拒次数"),
    # peak pressure
    "demand_chart": Words("Demand, quota and capacity by day", "每日需求、配额与容量"),
    "actual": Words("Recorded demand", "实际需求"),
    "synthetic": Words("of it synthetic", "其中合成部分"),
    "so_far": Words("Wished so far", "目前已提出"),
    "forecast": Words("Forecast, median", "预测中位数"),
    "band": Words("80 % band", "80% 区间"),
    "quota": Words("Quota (sum of branches)", "配额（网点合计）"),
    "capacity": Words("Slot capacity", "时段容量"),
    "used": Words("Booked", "已预约"),
    "month_end": Words("month end", "月末"),
    "now": Words("now", "现在"),
    "day": Words("Day", "日期"),
    "wishes": Words("wishes", "需求数"),
    "intraday_chart": Words("Requests a second, by quarter-hour", "每刻钟的每秒请求数"),
    "observed": Words("Observed", "实测"),
    "forecast_rps": Words("Forecast, q50", "预测 q50"),
    "band_rps": Words("Forecast, q50 to q90", "预测 q50–q90"),
    "running": Words("Workers running", "运行进程数"),
    "target": Words("Workers, target", "目标进程数"),
    "planned_workers": Words("Workers, planned", "计划进程数"),
    "workers": Words("workers", "进程数"),
    "rps": Words("requests/s", "请求/秒"),
    "next_peak": Words("Next peak", "下一个高峰"),
    "model_line": Words(
        "Forecast {run} of {period}, trained {trained}.", "预测 {run}（{period}），训练于 {trained}。"
    ),
    "synthetic_note": Words(
        "Hatched: *synthetic* overlay. The forecast learned from it too.",
        "斜线部分为*合成*数据（synthetic），预测也以此训练。",
    ),
    "synthetic_rps_note": Words(
        "Part of these requests is *synthetic*.", "其中部分请求为*合成*数据（synthetic）。"
    ),
    "requests": Words("Requests", "请求数"),
    "q10": Words("q10", "q10"),
    "q90": Words("q90", "q90"),
    "no_quota_ahead": Words("No quota is set for the coming days.", "未来日期尚未设置配额。"),
    # plans
    "latest_plans": Words("In force or waiting, by region", "各区域最新方案"),
    "plan": Words("Plan", "方案"),
    "status": Words("Status", "状态"),
    "model": Words("Model", "模型"),
    "verdict": Words("Verdict", "判定"),
    "in_band": Words("Inside the guard band", "在护栏内"),
    "out_of_band": Words("Outside the guard band", "超出护栏"),
    "for_period": Words("made on {period}", "制定于 {period}"),
    "card_line": Words("{changed} of {items} day limits change", "{items} 项日限额中 {changed} 项变化"),
    "up_to_workers": Words("workers: up to {workers}", "最多 {workers} 个进程"),
    "no_items": Words("This plan changes nothing.", "该方案没有任何变化。"),
    "what_changed": Words("What changes, and why", "变化内容与原因"),
    "old": Words("Old limit", "原限额"),
    "proposed": Words("Forecast asks", "预测建议"),
    "new": Words("New limit", "新限额"),
    "applied_limit": Words("Set", "已设定"),
    "change": Words("Change", "变化"),
    "why": Words("Guardrail", "护栏"),
    "condition": Words("Condition", "条件"),
    "scope": Words("Scope", "范围"),
    "kind_of_period": Words("Period", "周期"),
    "starts": Words("Starts", "起始"),
    "show_plan": Words("Show plan", "查看方案"),
    "quota_by_day": Words("Quota by day, summed over branches", "每日配额（网点合计）"),
    "workers_by_quarter": Words("Workers by quarter-hour", "每刻钟进程数"),
    "units": Words("units", "名额"),
    "approve": Words("Approve", "批准"),
    "apply": Words("Apply", "生效"),
    "reject": Words("Reject", "驳回"),
    "rollback": Words("Roll back", "回滚"),
    "pause": Words("Pause plans", "暂停方案"),
    "resume": Words("Resume plans", "恢复方案"),
    "read_only": Words(
        "Read only: set SLOTCAST_OPERATOR_TOKEN to approve, apply or roll back.",
        "只读：设置 SLOTCAST_OPERATOR_TOKEN 后可批准、生效或回滚。",
    ),
    "command_done": Words("{plan}: {status}", "{plan}：{status}"),
    "command_refused": Words("Refused by the core: {message}", "核心服务拒绝：{message}"),
    "scores": Words("How plans did", "方案效果"),
    "served": Words("Served", "已满足"),
    "refused_new": Words("Refused under the plan", "方案下被拒"),
    "refused_old": Words("Had the old quota stayed", "若维持原配额"),
    "idle": Words("Idle", "空闲"),
    "regret": Words("Regret", "遗憾值"),
    "demand": Words("Demand", "需求"),
    "no_scores": Words(
        "Plans are scored once their days have passed (DAG score).", "方案日期过后由 DAG score 评分。"
    ),
    "daily": Words("day", "日"),
    "weekly": Words("week", "周"),
    "monthly": Words("month", "月"),
    "quarter_hourly": Words("quarter-hour", "刻钟"),
    "servers": Words("Servers", "服务器"),
    "keep": Words("keep", "维持"),
    "report_title": Words("Bookings and plans, {since} to {until}", "预约与方案：{since} 至 {until}"),
}

_WEEKDAYS_EN: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEKDAYS_ZH: Final = "一二三四五六日"
_MONTHS_EN: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def text(key: str, language: str, **values: object) -> str:
    """The text in the language, its placeholders filled; raises KeyError for an unknown key."""
    words = pick(TEXTS[key], language)
    return words.format(**values) if values else words


def day_name(day: date, language: str) -> str:
    """The day in words: "Fri 29 Jul", "7月29日 周五"."""
    if language == "zh":
        return f"{day.month}月{day.day}日 周{_WEEKDAYS_ZH[day.weekday()]}"
    return f"{_WEEKDAYS_EN[day.weekday()]} {day.day} {_MONTHS_EN[day.month - 1]}"


def full_day_name(day: date, language: str) -> str:
    """The day in words with its year: "Fri 29 Jul 2016", "2016年7月29日 周五"."""
    name = day_name(day, language)
    return f"{day.year}年{name}" if language == "zh" else f"{name} {day.year}"


def moment_name(moment: datetime, language: str) -> str:
    """The zoned moment in words, with its day: "Fri 29 Jul, 10:15", "7月29日 周五 10:15"."""
    return f"{day_name(moment.date(), language)}{' ' if language == 'zh' else ', '}{moment:%H:%M}"


def number(value: float) -> str:
    """The value without decimals, thousands set apart: "4,180"."""
    return f"{value:,.0f}"


def percent(ratio: float) -> str:
    """The ratio as a percentage: "12 %", with one decimal below 10 %."""
    return f"{100 * ratio:.1f} %" if 0 < ratio < 0.1 else f"{100 * ratio:.0f} %"  # noqa: PLR2004
