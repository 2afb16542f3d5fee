"""A deadline for approvals, how a region came to its mode, and the scores of whole plans and of servers."""

import sqlalchemy as sa
from alembic import op

from booking_core.tables import UtcDateTime


revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('regions', sa.Column('automatic_fixed', sa.Boolean(), nullable=False, server_default=sa.false(), comment='set by a person: no score changes it'))
    op.add_column('regions', sa.Column('automatic_reason', sa.Text(), comment='why it stands so, in words'))
    op.add_column('regions', sa.Column('automatic_since_utc', UtcDateTime(timezone=True), comment='wall time; null = since it was imported'))
    # until now only a person could grant it
    op.execute('UPDATE regions SET automatic_fixed = automatic_application')

    op.add_column('plans', sa.Column('decide_by_utc', UtcDateTime(timezone=True), comment='wall time; a plan still pending then is rejected'))
    op.create_index('ix_plans_pending', 'plans', ['decide_by_utc'], sqlite_where=sa.text("status = 'pending'"), postgresql_where=sa.text("status = 'pending'"))

    op.create_table(
        'score_plan_totals',
        sa.Column('plan_id', sa.String(64), nullable=False),
        sa.Column('first_day', sa.Date(), nullable=False),
        sa.Column('last_day', sa.Date(), nullable=False),
        sa.Column('demand_units', sa.Float(), nullable=False),
        sa.Column('served_units', sa.Float(), nullable=False),
        sa.Column('refused_units', sa.Float(), nullable=False),
        sa.Column('idle_units', sa.Float(), nullable=False),
        sa.Column('refused_old_units', sa.Float(), nullable=False, comment='without any plan'),
        sa.Column('idle_old_units', sa.Float(), nullable=False),
        sa.Column('regret_units', sa.Float(), nullable=False, comment='the same total over its branches and days'),
        sa.Column('cost', sa.Float(), nullable=False, comment='newsvendor cost in idle units'),
        sa.Column('cost_old', sa.Float(), nullable=False),
        sa.Column('waited', sa.Integer(), nullable=False, comment='who waited for one of its days'),
        sa.Column('waiting_days', sa.Float(), comment='mean days they waited; null = nobody did'),
        sa.ForeignKeyConstraint(['plan_id'], ['plans.plan_id'], name=op.f('fk_score_plan_totals_plan_id')),
        sa.PrimaryKeyConstraint('plan_id', name=op.f('pk_score_plan_totals')),
        comment='A quota plan once its last day has passed, whether or not others took over meanwhile',
    )
    op.create_table(
        'score_servers',
        sa.Column('day', sa.Date(), nullable=False, comment='bank-local business day'),
        sa.Column('quarters', sa.Integer(), nullable=False, comment='quarter-hours of which all three are known'),
        sa.Column('planned_hours', sa.Float(), nullable=False, comment='worker-hours that the server plans asked for'),
        sa.Column('run_hours', sa.Float(), nullable=False, comment='worker-hours that ran'),
        sa.Column('needed_hours', sa.Float(), nullable=False, comment='worker-hours that the load needed'),
        sa.Column('short_hours', sa.Float(), nullable=False, comment='of these, those that did not run'),
        sa.PrimaryKeyConstraint('day', name=op.f('pk_score_servers')),
        comment='Worker-hours of a business day: planned, run and needed',
    )


def downgrade() -> None:
    raise RuntimeError('no way back without loss: the third schema has no place for scores of whole plans: restore the backup')
