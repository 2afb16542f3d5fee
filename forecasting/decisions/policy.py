"""The numbers of policy: typed, stored under the settings key "policy", written into every plan.

The guard band decides which plans apply by themselves. A quota plan is inside it when all hold:

- the sum of its guarded day quotas is between `auto_band_low_ratio` and `auto_band_high_ratio` times
  the sum of the present ones (defaults 0.5 and 2.0: quotas that were guessed too low are corrected
  at once, doubling a whole region in one step is a person's decision);
- at most `auto_band_clipped_ratio` of its day items were held back by the step limits upward
  (default 0.25: one surge a month may be clipped; a forecast that runs into the limit everywhere is
  suspect, however the limit tamed its total);
- at most `auto_band_clipped_down_ratio` of them ran into the step limit downward (default 0.4: two closed
  days a week and a few holidays may; a forecast that collapsed does everywhere, and would halve all quotas
  night after night);
- the sum does not fall below `auto_band_least_ratio` times what stands without any plan (default 0.25), so
  that falls from plan to plan cannot pile up unseen. Where so little is right, a person sets these limits.

A region without branches' day quotas is judged by all its limits.

A plan outside the band is posted with `in_band` false and waits `approval_hours` for an operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any, Final

from forecasting.decisions.policy_rules import rules_of
from forecasting.decisions.reliability import ReliabilityRule

MINUTES_A_DAY: Final = 1440


@dataclass(frozen=True, slots=True)
class Policy:
    """What the bank wants of its plans; every field has a stated default."""

    # quotas
    service_level: float = 0.9
    """Target P(demand ≤ quota): the quantile a quota is set to. It states the costs too: `refused_cost`."""
    plan_days: int = 28
    """Day quotas are planned for so many days after the period."""
    floor_units: int = 1
    """No quota is planned below this."""
    max_step_up_ratio: float = 3.0
    """A new limit is at most this many times the old one."""
    max_step_down_ratio: float = 0.5
    """A new limit is at least this share of the old one."""
    min_step_units: int = 5
    """A step of so many units is always allowed, so that small quotas can move."""
    ceiling_day_units: int = 0
    """No branch's day is planned above this, no region's above as much for each branch; 0 = no ceiling."""
    ceiling_week_units: int = 0
    ceiling_month_units: int = 0
    ceiling_ratio: float = 10.0
    """No limit is planned above so many times the one that stands without any plan: steps cannot pile up."""
    funds_days: int = 56
    """What an appointment pays out is measured on the bookings of so many last days."""
    frozen_days: tuple[str, ...] = ()
    """ISO days whose quotas no plan may change."""
    fixed_totals: tuple[str, ...] = ()
    """Limits that a person fixes, e.g. "region:north:month" or "bank:bank:week": no plan changes them, and
    where the days of the branches beneath ask for more they share the total out."""
    trust_weeks: int = 8
    """The forecast, its models and the past share a total out as far as each is trusted, which the last so
    many weeks tell; 0 = by the forecast alone."""
    auto_band_low_ratio: float = 0.5
    auto_band_high_ratio: float = 2.0
    auto_band_clipped_ratio: float = 0.25
    auto_band_clipped_down_ratio: float = 0.4
    auto_band_least_ratio: float = 0.25
    approval_hours: float = 24.0
    """A plan outside the band is rejected when nobody has decided within so many wall hours."""

    # shares of channels and the waitlist
    channel_days: int = 56
    """Channels' shares of demand are measured on the wishes of so many last days …"""
    channel_prior_units: float = 50.0
    """… where the region's shares weigh as much as so many wishes of the branch."""
    backlog_day_ratio: float = 0.5
    """A day takes up at most this share of its usual demand from the waitlist's backlog."""

    # special periods, and corrections within the day
    special_month_end_days: int = 3
    """The last so many days of a month are a special period, announced or not."""
    special_least_units: int = 3
    """Temporary extra units are asked for a special period from so many missing ones on."""
    hold_back_ratio: float = 0.0
    """This share of a branch's planned day is kept back until arrivals outrun the forecast."""
    correction_days: int = 2
    """Corrections look at so many days: today, and those after it."""
    correction_least_units: int = 2
    """Nothing is corrected by fewer units at a time …"""
    correction_least_ratio: float = 0.05
    """… or by less than this share of the limit in force: corrections do not flap."""
    correction_auto_ratio: float = 0.15
    """Emergency units of a day up to this share of its planned limit need no person, beyond it they do."""
    release_hours_before: int = 12
    """From so many hours before its day begins what a channel leaves unused is open to the others."""

    # shadow mode and earned autonomy
    autonomy_periods: int = 28
    """A region earns automatic application, or loses it, by so many judged days …"""
    autonomy_margin_ratio: float = 0.05
    """… whose cost is so much lower (or higher) than that of the quotas without the plans, …"""
    autonomy_chance: float = 0.01
    """… where plans no better would show as much with less than this probability. Asked every day for half a
    year, 22 % of regions whose plans were no better earned it at some time; with 0.05 it was 62 %."""
    bad_plan_days: int = 7
    """The next plan of a region is kept where the last so many judged days …"""
    bad_plan_margin_ratio: float = 0.25
    """… cost so much more than the quotas without the plans, …"""
    bad_plan_chance: float = 0.05
    """… by the same test."""

    # the cost re-tune
    tune_days: int = 28
    """The quantile a quota is set to follows how often demand of so many last days kept below quantiles …"""
    tune_least_days: int = 14
    """… from so many judged days on, …"""
    tune_horizon_days: int = 7
    """… by forecasts made at most so many days before, …"""
    tune_gap_ratio: float = 0.02
    """… where the target level was missed by more than this share of days, …"""
    tune_chance: float = 0.05
    """… which a right forecast would show with less than this probability on one day's asking, …"""
    tune_most_ratio: float = 0.05
    """… by at most this much up or down; 0 = never."""
    tune_highest_level: float = 0.999
    """No level is tuned beyond it: the sample paths of a forecast tell no higher quantile."""

    # forecasts
    pay_days: tuple[int, ...] = ()
    """Days of the month on which people are paid; in a shorter month its last day."""
    reselect_days: int = 7
    """Models are judged anew when their last judgement is more than so many days old; 0 = every day."""

    # when a forecast is unfit
    stale_days: int = 3
    """Vetoed as stale when its newest known day lies more than so many days before the period."""
    min_observations: int = 56
    """Vetoed as short below so many known days (8 weeks)."""
    worse_ratio: float = 1.0
    """Vetoed as worse_than_weeks8 when its loss exceeds weeks8's times this."""
    coverage_low_ratio: float = 0.55
    """Vetoed as coverage_off when its 80 % band held less than this share of the days …"""
    clearly_better_ratio: float = 0.9
    """… unless its loss is below weeks8's times this: then weeks8 would be no safer."""
    max_unfit_ratio: float = 0.5
    """The whole run is vetoed when more than this share of its series is unfit."""
    drift_days: int = 7
    """Live forecasts of so many last days are held against what their backtest promised …"""
    drift_least_days: int = 2
    """… from so many on; vetoed as drift where one of three departures is both large and no chance:"""
    drift_coverage_gap: float = 0.15
    """the 80 % band holds this much less than promised,"""
    drift_wape_ratio: float = 1.5
    """the WAPE is this many times the promised one,"""
    drift_level_ratio: float = 0.25
    """what came and what was forecast differ by this share of the larger;"""
    drift_chance: float = 0.001
    """no chance: a healthy forecast shows as much with less than this probability,"""
    drift_day_correlation: float = 0.2
    """where errors of two branches on one day correlate like this."""
    score_days: int = 28
    """Forecasts and plans are scored up to so many days ahead."""
    day_closes_hour: int = 18
    """Bank-local hour from which a business day counts as complete."""

    # servers
    server_hours: int = 48
    """A server plan covers so many business hours."""
    target_utilisation: float = 0.6
    """Share of a worker's time that may be busy."""
    min_workers: int = 1
    max_workers: int = 8
    full_utilisation: float = 0.8
    """Share of its time that a worker can spend before answers get slow: load beyond it is too much."""
    worker_price: float = 0.04
    """The probability of too much load that one worker more must take away to be planned …"""
    worker_price_workers: float = 20.0
    """… for a load of so many workers at most; beyond, where as many more customers meet a minute of too
    much load, the price falls in proportion."""
    reliability_memory_steps: int = 64
    """A pressure forecast is judged by its last so many judged steps, those of a day at least …"""
    reliability_least_steps: int = 24
    """… from so many on; distrusted where …"""
    reliability_above_ratio: float = 0.22
    """… more than this share lay above the 0.9 quantile, …"""
    reliability_far_below_ratio: float = 0.06
    """… or more than this share lay below the 0.1 quantile …"""
    reliability_far_below_factor: float = 0.5
    """… times this, …"""
    reliability_naive_ratio: float = 0.95
    """… or the median's mean error exceeds the last value's times this …"""
    reliability_regain_ratio: float = 0.7
    """… until the shares fall below this part of their limits."""
    reliability_least_load: float = 1.0
    """Steps are judged where the load or its 0.9 quantile keeps so many workers busy."""
    pressure_weeks: int = 8
    """Weeks of pressure that profile, requests per wish and cost are measured on."""
    max_lead_days: int = 7
    """Requests are matched with wishes for at most so many days later."""
    requests_per_wish: float = 4.0
    """Assumed where pressure was never measured: two calendar looks, one try, one confirmation."""
    cost_seconds: float = 0.02
    """Busy seconds a request, assumed where never measured."""
    cost_least_requests: int = 200
    """From so many real requests on their cost counts, below it the synthetic history's."""

    # staff
    opens: str = "08:00"
    closes: str = "18:00"
    """Counter and phone are staffed between these bank-local times, whole half-hours."""
    shift_hours: tuple[float, ...] = (4.0, 8.0)
    """How long a shift may be, its break included; whole half-hours."""
    shift_starts: tuple[str, ...] = ()
    """When a shift may start; none named = at every half-hour."""
    break_after_hours: float = 6.0
    """A longer shift has one break, somewhere in its middle third …"""
    break_minutes: int = 60
    """… of so many minutes, whole half-hours."""
    counter_level: float = 0.8
    """So large a share of the customers at the counter …"""
    counter_wait_seconds: float = 600.0
    """… wait no longer than so."""
    counter_handling_seconds: float = 900.0
    """Time of one customer at the counter, assumed where never measured."""
    phone_level: float = 0.8
    phone_wait_seconds: float = 20.0
    phone_handling_seconds: float = 300.0
    """Talk and after-work of one call: the core does not see how long a call takes."""
    phone_patience_seconds: float = 0.0
    """Mean time after which a waiting caller hangs up (Erlang A); 0 = they wait on (Erlang C)."""
    phone_calls_per_unit: float = 0.2
    """Calls for each unit wished, assumed where no attempt by phone is known."""
    staff_short_cost: float = 4.0
    """What a missing head costs when an idle one costs 1; used where the forecast's error dominates."""
    staff_utilisation: float = 0.85
    """Share of a head's time at the counter that may be booked."""
    staff_weeks: int = 8
    """Weeks that handling times, no-shows and the shape of the day are measured on."""
    staff_prior_units: int = 200
    """A branch's own measurements weigh half from so many customers on, its region's the rest."""

    # overbooking
    overbooking: bool = False
    """Whether more is booked than the staff can serve, because some customers do not come."""
    overbooking_cost: float = 4.0
    """What a customer too many costs when an idle unit costs 1."""
    overbooking_most_no_shows_ratio: float = 0.5
    """A larger share of no-shows is taken for this one: the measurement or the reminders are at fault."""

    def __post_init__(self) -> None:
        problems = [f"{name} {value!r}: {wanted}" for name, value, ok, wanted in rules_of(self) if not ok]
        if problems:
            raise ValueError(f"policy: {'; '.join(problems)}")

    def reliability_rule(self, step_minutes: int) -> ReliabilityRule:
        """What is asked of a pressure forecast by steps of so many minutes."""
        return ReliabilityRule(
            memory_steps=max(float(self.reliability_memory_steps), MINUTES_A_DAY / step_minutes),
            least_steps=self.reliability_least_steps,
            above_ratio=self.reliability_above_ratio,
            far_below_ratio=self.reliability_far_below_ratio,
            far_below_factor=self.reliability_far_below_factor,
            naive_ratio=self.reliability_naive_ratio,
            regain_ratio=self.reliability_regain_ratio,
            least_load=self.reliability_least_load,
        )

    @property
    def staff_quantile(self) -> float:
        """The quantile of the load that is staffed for where the forecast's error dominates."""
        return self.staff_short_cost / (1.0 + self.staff_short_cost)

    @property
    def refused_cost(self) -> float:
        """What a refused unit costs when an idle one costs 1: 9 at the service level 0.9; never stated twice.

        The newsvendor's critical ratio read backwards: level = refused ÷ (refused + idle).
        """
        return self.service_level / (1.0 - self.service_level)

    @property
    def frozen(self) -> frozenset[date]:
        """The frozen days as dates."""
        return frozenset(date.fromisoformat(day) for day in self.frozen_days)

    def as_record(self) -> dict[str, Any]:
        """The policy as plain JSON values, for a plan's record."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def policy_from(stored: Mapping[str, Any]) -> Policy:
    """The policy with stored values over the defaults.

    Raises ValueError naming the field for an unknown one, a value of another type, or one out of range.
    """
    known = {f.name: f for f in fields(Policy)}
    unknown = sorted(set(stored) - set(known))
    if unknown:
        raise ValueError(f"policy: unknown field {unknown}; known: {sorted(known)}")
    values = {name: _typed(name, value, known[name].default) for name, value in stored.items()}
    return Policy(**values)


def _typed(name: str, value: Any, default: Any) -> Any:
    """The value in the type of the field's default; JSON has no tuples, and writes 3.0 as 3."""
    if isinstance(default, tuple) and isinstance(value, (list, tuple)):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is type(default):
        return value
    raise ValueError(f"policy: {name} {value!r}: expected {type(default).__name__}")
