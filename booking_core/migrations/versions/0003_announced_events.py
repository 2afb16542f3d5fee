"""Announced events, what a selection learned, the drift of live forecasts, and a forecast's details."""

import sqlalchemy as sa
from alembic import op

from booking_core.tables import UtcDateTime


revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'events',
        sa.Column('event_id', sa.String(64), nullable=False, comment='chosen by who announces it: idempotent'),
        sa.Column('kind', sa.String(16), nullable=False, comment='metrics.contract.EventKind'),
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('first_day', sa.Date(), nullable=False),
        sa.Column('last_day', sa.Date(), nullable=False, comment='inclusive'),
        sa.Column('scope', sa.String(72), nullable=False, comment='bank:bank | region:ID | branch:ID'),
        sa.Column('confirmed', sa.Boolean(), nullable=False, comment='false: only expected'),
        sa.Column('expected_effect_ratio', sa.Float(), comment="a person's estimate of demand / usual; used where history knows no such event"),
        sa.Column('note', sa.Text()),
        sa.Column('created_by', sa.String(64), nullable=False),
        sa.Column('created_utc', UtcDateTime(timezone=True), nullable=False, comment='wall time'),
        sa.Column('ended_utc', UtcDateTime(timezone=True), comment='wall time; null = stands. Kept: past forecasts used it'),
        sa.CheckConstraint('last_day >= first_day', name=op.f('ck_events_days_in_order')),
        sa.CheckConstraint('expected_effect_ratio > 0', name=op.f('ck_events_effect_positive')),
        sa.PrimaryKeyConstraint('event_id', name=op.f('pk_events')),
        comment='What is announced that may move demand, and when that became known',
    )

    op.add_column('forecast_series', sa.Column('details', sa.JSON(), comment='weights, scores of each candidate, group, calibration, explanation'))

    op.create_table(
        'forecast_artifacts',
        sa.Column('artifact_id', sa.String(64), nullable=False),
        sa.Column('kind', sa.String(32), nullable=False),
        sa.Column('period', sa.Date(), nullable=False, comment='business day it was made on'),
        sa.Column('created_utc', UtcDateTime(timezone=True), nullable=False, comment='wall time'),
        sa.Column('span_from', sa.Date(), comment='first day of what it learned from'),
        sa.Column('span_to', sa.Date()),
        sa.Column('parameters', sa.JSON(), nullable=False),
        sa.Column('libraries', sa.JSON(), nullable=False),
        sa.Column('scores', sa.JSON()),
        sa.Column('format', sa.Integer(), nullable=False, comment='version of the payload'),
        sa.Column('sha256', sa.String(64), nullable=False, comment='of data'),
        sa.Column('data', sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint('artifact_id', name=op.f('pk_forecast_artifacts')),
        comment='What was learned once and is used until the next selection; checked when it is read',
    )
    op.create_index(op.f('ix_forecast_artifacts_period'), 'forecast_artifacts', ['period'])

    op.create_table(
        'forecast_drift',
        sa.Column('run_id', sa.String(64), nullable=False),
        sa.Column('day', sa.Date(), nullable=False, comment='last day judged'),
        sa.Column('scope', sa.String(96), nullable=False, comment='bank | group:NAME'),
        sa.Column('days', sa.Integer(), nullable=False, comment="series' days judged"),
        sa.Column('coverage80', sa.Float(), nullable=False),
        sa.Column('coverage80_promised', sa.Float(), comment='of the backtest; null = it promised nothing'),
        sa.Column('wape', sa.Float(), comment='null = nothing came on these days'),
        sa.Column('wape_promised', sa.Float()),
        sa.Column('verdict', sa.String(32), comment='veto name; null = fit'),
        sa.Column('condition', sa.Text(), comment='the veto in words and numbers'),
        sa.ForeignKeyConstraint(['run_id'], ['forecast_runs.run_id'], name=op.f('fk_forecast_drift_run_id')),
        sa.PrimaryKeyConstraint('run_id', 'day', 'scope', name=op.f('pk_forecast_drift')),
        comment='Live forecasts against what their backtest promised',
    )


def downgrade() -> None:
    raise RuntimeError('no way back without loss: the second schema has no place for events and artifacts: restore the backup')
