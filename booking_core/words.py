"""What values and faults of fields are called in Chinese; English tells them as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


def word_zh(name: str, value: str) -> str:
    """The word for this value of a text's {name}: a status, mode, command or skill; else the value."""
    return _WORDS_ZH.get(value, value) if name in _NAMED else value


def field_fault_zh(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """What pydantic's error of this type is told as: what it says itself (`zh`), or the text of its type.

    message: its English text, told where there is no other; context: its values, such as the bound.
    """
    if own := context.get("zh"):
        return str(own)
    try:
        return FIELD_FAULTS_ZH[kind].format_map({name: _value_zh(value) for name, value in context.items()})
    except KeyError:
        return f"不符合要求：{message}"


def _value_zh(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).replace(" or ", "、").replace(", ", "、")  # a list of what may be chosen


_NAMED: Final = frozenset({"status", "mode", "command", "skill"})

_WORDS_ZH: Final = {
    # plans
    "proposed": "待应用",
    "pending": "待审批",
    "approved": "已批准",
    "applied": "已生效",
    "superseded": "已被取代",
    "rejected": "已驳回",
    "rolled_back": "已回滚",
    "kept": "保持不变",
    "shadow": "影子模式",
    "automatic": "自动应用",
    "approve": "批准",
    "reject": "驳回",
    "apply": "应用",
    "rollback": "回滚",
    # bookings
    "offered": "待接受",
    "held": "占位中",
    "confirmed": "已确认",
    "checked_in": "已签到",
    "completed": "已办理",
    "cancelled": "已取消",
    "expired": "已过期",
    "no_show": "未到场",
    # waitlist entries
    "waiting": "候补中",
    "booked": "已预约",
    "left": "已退出",
    # skills
    "counter": "柜台",
    "phone": "电话",
    # loans
    "active": "正常",
    "closed": "已结清",
    "blocked": "已冻结",
}

FIELD_FAULTS_ZH: Final = {
    "missing": "缺少该字段",
    "extra_forbidden": "不认识的字段，请删除",
    "json_invalid": "不是有效的 JSON",
    "model_attributes_type": "须为一个以 application/json 发送的 JSON 对象",
    "model_type": "须为一个 JSON 对象",
    "dict_type": "须为一个 JSON 对象",
    "list_type": "须为一个 JSON 数组",
    "too_short": "不能为空",
    "too_long": "条目过多，最多 {max_length} 个",
    "string_type": "须为字符串",
    "string_unicode": "须为有效的 Unicode 文本",
    "string_pattern_mismatch": "含有不允许的字符",
    "string_too_long": "过长，最多 {max_length} 个字符",
    "string_too_short": "不能为空",
    "enum": "不是可选值，可选：{expected}",
    "literal_error": "不是可选值，可选：{expected}",
    "greater_than": "必须大于 {gt}",
    "greater_than_equal": "过小，不得小于 {ge}",
    "less_than": "过大，必须小于 {lt}",
    "less_than_equal": "过大，不得大于 {le}",
    "int_type": "须为整数",
    "int_parsing": "须为整数",
    "int_parsing_size": "过大",
    "int_from_float": "须为整数",
    "float_type": "须为数字",
    "float_parsing": "须为数字",
    "finite_number": "必须是有限的数值",
    "decimal_parsing": "不是数字",
    "decimal_type": "不是数字",
    "decimal_max_digits": "最多 {max_digits} 位数字",
    "decimal_max_places": "最多 {decimal_places} 位小数",
    "decimal_whole_digits": "小数点前最多 {whole_digits} 位数字",
    "bool_parsing": "须为 true 或 false",
    "bool_type": "须为 true 或 false",
    "date_type": "不是日期（YYYY-MM-DD）",
    "date_parsing": "不是日期（YYYY-MM-DD）",
    "date_from_datetime_parsing": "不是日期（YYYY-MM-DD）",
    "date_from_datetime_inexact": "不是日期（YYYY-MM-DD）",
    "datetime_type": "不是时间（例如 2026-03-01T09:00:00+08:00）",
    "datetime_parsing": "不是时间（例如 2026-03-01T09:00:00+08:00）",
    "datetime_object_invalid": "不是时间（例如 2026-03-01T09:00:00+08:00）",
    "datetime_from_date_parsing": "不是时间（例如 2026-03-01T09:00:00+08:00）",
    "timezone_aware": "须带时区偏移，例如 2026-03-01T09:00:00+08:00",
}
"""By the type of pydantic's error; its values as {name}."""
