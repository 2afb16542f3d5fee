"""Why a day's forecast is what it is: daytype's parts as multiplicative effects, then the combination.

daytype works on square roots: z = level + Σ effects·features, its forecast is z². A group of features (a
part) adds p to z. Its effect on the forecast is

    effect = exp(p ÷ Σp · ln(z² ÷ base)),    base = (level + what the parts add on the usual day)²

with each p counted from the usual day, so that an effect of 1 means "as usual": weekday, month and season as
on the mean open day of the last year; no holiday, no break, no event. Base × all effects = z² without a
remainder. This is the logarithmic-mean Divisia index (Ang, "The LMDI approach to decomposition analysis",
Energy Policy 33, 2005). Taking one part out, (z ÷ (z − p))², says nearly the same for one part, but such
effects do not multiply to the forecast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from forecasting.frames import TIME, TIME_DTYPE, Floats
from forecasting.models.level_regression import Bools

BASE: Final = "usual_day"
WEEKDAY: Final = "weekday"
HOLIDAYS: Final = "holiday"
BREAK: Final = "break"
MONTH: Final = "month"
SEASON: Final = "season"
EVENT: Final = "event"
EFFECT_PARTS: Final = (WEEKDAY, HOLIDAYS, BREAK, MONTH, SEASON, EVENT)
EXCEPTIONS: Final = (HOLIDAYS, BREAK, EVENT)
"""Parts that the usual day has none of."""
CLOSED: Final = "closed"
PAST_ERRORS: Final = "past_errors"
SPREAD: Final = "spread"
FORECAST: Final = "forecast"

PART: Final = "part"
COLUMNS: Final = (TIME, PART, "effect", "units", "weight", "wql", "champion")

_STARTS: Final = (
    ("weekday_", WEEKDAY),
    ("holiday", HOLIDAYS),
    ("make_up", HOLIDAYS),
    ("named_", HOLIDAYS),
    ("spring_", HOLIDAYS),
    ("weekend_in_break", BREAK),
    ("before_", BREAK),
    ("after_", BREAK),
    ("bridge", BREAK),
    ("month_", MONTH),
    ("quarter_", MONTH),
    ("days_", MONTH),
    ("yearly_", SEASON),
)
IDLE: Final = 0.005
"""A part whose effects are all nearer to 1 is left out of the short table."""

_LEAST_ROOT: Final = 1e-3
"""A root at or below 0 counts as this share of the usual day's: its effects are near 0, not unknown."""
_TINY: Final = 1e-9


def part_of(feature: str) -> str:
    """The part that a feature of daytype belongs to, by its name; what the calendar has not is an event's."""
    return next((part for start, part in _STARTS if feature.startswith(start)), EVENT)


@dataclass(frozen=True, slots=True)
class DayEffects:
    """base: units of the usual day; effects: (days,) by part, ≥ 0; their product times base is z²."""

    base: float
    effects: dict[str, Floats]

    @property
    def product(self) -> Floats:
        """What daytype's level and effects say of each day (days,), in units."""
        made: Floats = self.base * np.prod(list(self.effects.values()), axis=0)
        return made


def day_effects(
    level: float, effects: Floats, coming: Floats, usual: Floats, names: Sequence[str]
) -> DayEffects:
    """The effects of the parts on the coming days.

    level and effects (features,) are a fit's, on the root scale; coming (days, features); usual (features,):
    each feature's mean over usual days; names: the features'.
    """
    parts = np.array([part_of(name) for name in names])
    usual = np.where(np.isin(parts, EXCEPTIONS), 0.0, usual)
    added = (coming - usual) * effects
    shares = {part: added[:, parts == part].sum(axis=1) for part in EFFECT_PARTS}
    root = max(level + float(usual @ effects), _TINY)
    total = np.sum(list(shares.values()), axis=0)
    z = np.maximum(root + total, _LEAST_ROOT * root)
    # ln(z² ÷ root²) ÷ Σp; where the parts cancel out it is the derivative, 2 ÷ root
    small = np.abs(total) <= _TINY * root
    rate = np.where(small, 2.0 / root, 2.0 * np.log(z / root) / np.where(small, 1.0, total))
    return DayEffects(root**2, {part: np.exp(share * rate) for part, share in shares.items()})


def explanation(
    days: pd.DatetimeIndex,
    *,
    forecast: Floats,
    closed: Bools,
    models: Mapping[str, Floats],
    weights: Mapping[str, Floats],
    wql: Mapping[str, float],
    spread: Floats,
    champion: str,
    champion_wql: float | None,
    day_type: DayEffects | None,
    day_type_median: Floats | None,
) -> pd.DataFrame:
    """One row a day and part, in the order they are made: `ds, part, effect, units, weight, wql, champion`.

    Arrays are (days,); models: medians. Rows: usual_day (units),
    the parts of daytype (effect), closed (effect 0 on a closed day, else 1), past_errors (the median of
    daytype's own past errors, as an effect): all of them multiply to daytype's median. Then each model (its
    median, its weight, its WQL over the panel's folds), spread (how much wider the band is made), forecast
    (the median, the series' own WQL). Without a fit of daytype its rows are left out.
    """
    rows: list[pd.DataFrame] = []

    def add(part: str, **columns: Floats | float | None) -> None:
        rows.append(pd.DataFrame({TIME: days.astype(TIME_DTYPE), PART: part} | columns))

    if day_type is not None and day_type_median is not None:
        add(BASE, units=day_type.base)
        for part, effect in day_type.effects.items():
            add(part, effect=effect)
        add(CLOSED, effect=np.where(closed, 0.0, 1.0))
        product = np.maximum(day_type.product, _TINY)
        add(PAST_ERRORS, effect=np.where(closed, 1.0, day_type_median / product))
    for name, median in models.items():
        add(name, units=median, weight=weights[name], wql=wql.get(name))
    add(SPREAD, effect=spread)
    add(FORECAST, units=forecast, wql=champion_wql)
    table = pd.concat(rows, ignore_index=True).reindex(columns=list(COLUMNS))
    numbers = dict.fromkeys(("effect", "units", "weight", "wql"), "float64")
    table = table.astype(numbers).assign(champion=champion)
    order = table.groupby(PART, sort=False).ngroup()
    return table.assign(_order=order).sort_values([TIME, "_order"], kind="stable").drop(columns="_order")


def short_table(table: pd.DataFrame, *, most_days: int = 14) -> str:
    """The first days of one series' explanation as text: a row a day, a column a part that does anything."""
    value = table["units"].where(table["units"].notna(), table["effect"])
    wide = table.assign(value=value).pivot_table(
        index=TIME, columns=PART, values="value", sort=False, dropna=False
    )
    wide = wide.iloc[:most_days]
    idle = [
        part
        for part in (*EFFECT_PARTS, CLOSED)
        if part in wide.columns and (wide[part] - 1.0).abs().max() < IDLE
    ]
    shown = wide.drop(columns=idle)
    shown.index = pd.DatetimeIndex(shown.index).strftime("%a %Y-%m-%d")
    heads = table.groupby(PART, sort=False)["weight"].mean().dropna()
    shown = shown.rename(columns={name: f"{name}·{weight:.2f}" for name, weight in heads.items()})
    return shown.rename_axis(index=None, columns=None).to_string(float_format=lambda number: f"{number:.4g}")
