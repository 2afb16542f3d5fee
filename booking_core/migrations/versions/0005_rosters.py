"""Rosters: who is there, by branch, day, hours and skill."""

import sqlalchemy as sa
from alembic import op

from booking_core.tables import UtcDateTime


revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'rosters',
        sa.Column('roster_id', sa.String(64), nullable=False, comment='chosen by who states it: idempotent'),
        sa.Column('branch_id', sa.String(64), nullable=False),
        sa.Column('first_day', sa.Date(), nullable=False, comment='of its entries'),
        sa.Column('last_day', sa.Date(), nullable=False, comment='inclusive'),
        sa.Column('entries', sa.JSON(), nullable=False, comment='[{day, from, to, heads, skill}], times bank-local'),
        sa.Column('created_by', sa.String(64), nullable=False),
        sa.Column('created_utc', UtcDateTime(timezone=True), nullable=False, comment='wall time'),
        sa.Column('ended_utc', UtcDateTime(timezone=True), comment='wall time; null = stands. Kept: past plans used it'),
        sa.CheckConstraint('last_day >= first_day', name=op.f('ck_rosters_days_in_order')),
        sa.ForeignKeyConstraint(['branch_id'], ['branches.branch_id'], name=op.f('fk_rosters_branch_id')),
        sa.PrimaryKeyConstraint('roster_id', name=op.f('pk_rosters')),
        comment='Who is there: heads by branch, day, hours and skill; one standing roster tells each',
    )
    op.create_index('ix_rosters_branch_day', 'rosters', ['branch_id', 'last_day'])


def downgrade() -> None:
    raise RuntimeError('no way back without loss: the fourth schema has no place for rosters: restore the backup')
