"""The days that corrections look at, as they stand at a quarter-hour: limits, use, arrivals, caps, rooms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from booking_core.read.demand import displaced_in, wishes_by_channel
from booking_core.read.plans import extras_asked, plan_items
from booking_core.read.quotas import quota_periods
from booking_core.settings import BankSettings
from forecasting.caps import Funds
from forecasting.decisions.channels import Shares
from forecasting.decisions.intraday import Above, ChannelState, DayState, channel_need, foreseen
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import BranchForecast, LimitState, summed_paths
from forecasting.frames import Floats
from forecasting.reforecast import Paths, reforecast_day, stored_paths
from forecasting.retuning import channel_shares_of, unplanned_units_of, within_of
from forecasting.staff_caps import StaffCaps, staff_caps
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, UNIT_PERIODS, PeriodKind, ScopeKind

Scope = tuple[str, str]
"""Scope kind and scope id."""


def day_states(
    engine: Engine,
    region: str,
    run_id: str,
    quarter: datetime,
    settings: BankSettings,
    policy: Policy,
    funds: Funds | None,
) -> list[DayState]:
    """The days of the region's branches, then its own; of the bank only its own.

    Of the `correction_days` from today on, where a limit stands and all branches beneath have a forecast.
    funds: of the days after yesterday, the whole bank's.
    """
    today = settings.local_day(quarter)
    days = [today + timedelta(days=n) for n in range(policy.correction_days)]
    bank = region == BANK_SCOPE_ID
    limited = [
        (str(kind), limits)
        for kind in ((ScopeKind.BANK,) if bank else (ScopeKind.BRANCH, ScopeKind.REGION))
        if not (limits := _limits(engine, kind, PeriodKind.DAY, days, within_of(region))).empty
    ]
    if not limited:
        return []
    known = _Known.of(engine, region, run_id, quarter, days, settings, policy, funds)
    held_back = _held_back(engine, {plan for _, limits in limited for plan in limits["plan_id"].dropna()})
    return [
        state
        for kind, limits in limited
        for scope_id, day, rows in _by_place(limits)
        if (state := known.state((kind, scope_id), day, rows, held_back)) is not None
    ]


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read for a region (or the bank) at a quarter-hour."""

    region: str
    quarter: datetime
    settings: BankSettings
    policy: Policy
    stored: Paths
    updated: Mapping[date, Paths]
    displaced: pd.DataFrame
    shares: Shares
    asked: pd.DataFrame
    caps: StaffCaps
    wishes: Mapping[date, pd.DataFrame]
    funds: Funds | None
    levels: Mapping[Scope, Sequence[LimitState]]
    """The limits of all channels that hold one of the days."""

    @classmethod
    def of(
        cls,
        engine: Engine,
        region: str,
        run_id: str,
        quarter: datetime,
        days: Sequence[date],
        settings: BankSettings,
        policy: Policy,
        funds: Funds | None,
    ) -> _Known:
        """All that the states of the days are made from."""
        today, last, within = days[0], days[-1], within_of(region)
        yesterday = today - timedelta(days=1)
        return cls(
            region=region,
            quarter=quarter,
            settings=settings,
            policy=policy,
            stored=stored_paths(engine, run_id, within),
            updated={day: reforecast_day(engine, run_id, day, until=quarter, region=within) for day in days},
            displaced=displaced_in(engine, since=today, until=last, region=within),
            shares=channel_shares_of(engine, within, yesterday, policy),
            asked=extras_asked(engine, since=today, region=region),
            caps=staff_caps(engine, within, today, last, policy),
            wishes={day: wishes_by_channel(engine, since=day, until=day, region=within) for day in days},
            funds=funds,
            levels=_levels(engine, days, within),
        )

    def state(
        self,
        scope: Scope,
        day: date,
        rows: pd.DataFrame,
        held_back: Mapping[tuple[str, str, date], int],
    ) -> DayState | None:
        """The scope's day; None without a limit of all channels, or a forecast of all branches beneath."""
        whole = rows[rows["channel"] == ALL_CHANNELS]
        members = [scope[1]] if scope[0] == ScopeKind.BRANCH else list(self.caps.standing)
        before, after = _summed(self.stored, members, day), _summed(self.updated[day], members, day)
        if whole.empty or before is None or after is None or not set(members) <= set(self.caps.standing):
            return None
        one = whole.iloc[0].to_dict()
        seen = foreseen(before, after, self.policy)
        begins = datetime.combine(day, time(), self.settings.tzinfo())
        used = int(one["used_units"])
        return DayState(
            scope_kind=scope[0],
            scope_id=scope[1],
            day=day,
            limit_units=int(one["limit_units"]),
            extra_units=int(one["extra_units"]),
            used_units=used,
            forecast_units=seen.forecast_units,
            need_units=seen.need_units,
            likely_units=seen.likely_units,
            added_units=self._added(members, day),
            held_back_units=held_back.get((one["plan_id"], scope[1], day), 0)
            if scope[0] == ScopeKind.BRANCH
            else 0,
            staff_cap_units=self._staff_cap(members, day),
            funds_cap_units=self._funds_cap(scope, day, used),
            unplanned_units=unplanned_units_of(one),
            branches=len(members),
            done_units=self._most(scope, day, ALL_CHANNELS, in_band=True),
            asked_units=self._most(scope, day, ALL_CHANNELS, in_band=False),
            hours_before=(begins - self.quarter) / timedelta(hours=1),
            channels=self._channels(scope, members, day, rows),
            above=self._above(scope, day),
        )

    def _added(self, members: Sequence[str], day: date) -> int:
        """Units booked at the branches on the day by wishes that their demand of the day does not count."""
        rows, among = self.displaced, set(members)
        here = rows["branch_id"].isin(among) & (rows["service_day"] == pd.Timestamp(day))
        own = rows["wished_branch_id"].isin(among) & (rows["wished_day"] == pd.Timestamp(day))
        return int(rows.loc[here & ~own, "units"].sum())

    def _staff_cap(self, members: Sequence[str], day: date) -> int | None:
        """What the staff of all of the branches can serve; None where one is unknown."""
        known = [cap for branch in members if (cap := self.caps.of(branch, day)) is not None]
        return sum(known) if len(known) == len(members) else None

    def _funds_cap(self, scope: Scope, day: date, used: int) -> int | None:
        """What the day's funds pay out; None without a cap on them."""
        if self.funds is None:
            return None
        found = self.funds.units(_day_limit(scope, day, used), within_of(self.region), day)
        return None if found is None else found[0]

    def _most(self, scope: Scope, day: date, channel: str, *, in_band: bool) -> int:
        """The highest limit asked for before of the scope's day, 0 where none was."""
        rows = self.asked[
            (self.asked["scope_kind"] == scope[0])
            & (self.asked["scope_id"] == scope[1])
            & (self.asked["period_kind"] == PeriodKind.DAY)
            & (self.asked["period_start"] == pd.Timestamp(day))
            & (self.asked["channel"] == channel)
            & (self.asked["in_band"] == in_band)
        ]
        return 0 if rows.empty else int(rows["new_limit"].max())

    def _channels(
        self, scope: Scope, members: Sequence[str], day: date, rows: pd.DataFrame
    ) -> dict[str, ChannelState]:
        """The channels of the scope's day that have a limit of their own."""
        narrowed = rows[rows["channel"] != ALL_CHANNELS]
        if narrowed.empty:
            return {}
        wished = self.wishes[day]
        arrived = wished[wished["branch_id"].isin(set(members))]
        by_branch, by_channel = (
            arrived.groupby(column)["units"].sum().to_dict() for column in ("branch_id", "channel")
        )
        coming = {
            branch: np.maximum(paths - by_branch.get(branch, 0), 0.0)
            for branch in members
            if (paths := _summed(self.updated[day], [branch], day)) is not None
        }
        fewest = min(len(units) for units in coming.values())
        total = np.sum([units[:fewest] for units in coming.values()], axis=0)
        found = {}
        for row in narrowed.to_dict("records"):
            channel, used = row["channel"], int(row["used_units"])
            expected = np.sum(
                [
                    units[:fewest] * self.shares.get(branch, {}).get(channel, 0.0)
                    for branch, units in coming.items()
                ],
                axis=0,
            )
            arrived_units = int(by_channel.get(channel, 0))
            found[channel] = ChannelState(
                limit_units=int(row["limit_units"]),
                used_units=used,
                need_units=channel_need(total, expected, used, arrived_units, self.policy),
                done_units=self._most(scope, day, channel, in_band=True),
            )
        return found

    def _above(self, scope: Scope, day: date) -> tuple[Above, ...]:
        """The other limits, and the caps on funds, that a unit on the scope's day counts in."""
        funds = {} if self.funds is None else self.funds.rooms(_day_limit(scope, day), within_of(self.region))
        wider = [(str(ScopeKind.REGION), self.region), (str(ScopeKind.BANK), BANK_SCOPE_ID)]
        return tuple(
            Above(
                f"{each[0]}:{each[1]}:{limit.channel}:{limit.period_kind} {limit.period_start}",
                max(0, limit.limit_units - limit.used_units),
            )
            for each in dict.fromkeys([scope, *wider])
            for limit in self.levels.get(each, ())
            if limit.period_start <= day < limit.next_start
            and (each, limit.period_kind) != (scope, PeriodKind.DAY)
        ) + tuple(
            Above(f"{kind}:{scope_id}:{channel}:{PeriodKind.FUNDS_DAY} {day}", room)
            for (kind, scope_id, channel, _), room in funds.items()
        )


def _day_limit(scope: Scope, day: date, used_units: int = 0) -> LimitState:
    """The scope's day, as a limit that funds are read for."""
    return LimitState(*scope, PeriodKind.DAY, day, limit_units=0, used_units=used_units)


def _summed(paths: Paths, members: Sequence[str], day: date) -> Floats | None:
    """The branches' demand of the day together, (paths,); None where the run does not reach one of them."""
    known = (BranchForecast("", paths[branch]) if branch in paths else None for branch in members)
    return summed_paths(known, day, day)


def _levels(engine: Engine, days: Sequence[date], within: str | None) -> dict[Scope, list[LimitState]]:
    """The limits of all channels that hold one of the days, by scope."""
    found: dict[Scope, list[LimitState]] = {}
    for scope_kind in ScopeKind:
        for period_kind in UNIT_PERIODS:
            region = None if scope_kind is ScopeKind.BANK else within
            rows = _limits(engine, scope_kind, period_kind, days, region)
            for row in rows[rows["channel"] == ALL_CHANNELS].to_dict("records"):
                limit = LimitState(
                    scope_kind=str(scope_kind),
                    scope_id=row["scope_id"],
                    period_kind=str(period_kind),
                    period_start=row["period_start"].date(),
                    limit_units=int(row["limit_units"]),
                    used_units=int(row["used_units"]),
                )
                found.setdefault((limit.scope_kind, limit.scope_id), []).append(limit)
    return found


def _limits(
    engine: Engine, scope_kind: ScopeKind, period_kind: PeriodKind, days: Sequence[date], region: str | None
) -> pd.DataFrame:
    """The limits of these kinds that stand on one of the days."""
    rows = quota_periods(
        engine,
        since=days[0],
        until=days[-1],
        period_kind=period_kind,
        scope_kind=scope_kind,
        region=region,
    )
    return rows[rows["limit_units"].notna()]


def _by_place(rows: pd.DataFrame) -> Iterator[tuple[str, date, pd.DataFrame]]:
    """The rows of each scope and day."""
    for (scope_id, start), found in rows.groupby(["scope_id", "period_start"]):
        yield str(scope_id), pd.Timestamp(str(start)).date(), found


def _held_back(engine: Engine, plan_ids: Iterable[Any]) -> dict[tuple[str, str, date], int]:
    """Units that the plans behind the limits kept back of them, by plan, branch and day."""
    return {
        (plan_id, row["scope_id"], row["period_start"].date()): int(row["inputs"]["held_back_units"])
        for plan_id in map(str, plan_ids)
        for row in plan_items(engine, plan_id).to_dict("records")
        if "held_back_units" in (row["inputs"] or {})
    }
