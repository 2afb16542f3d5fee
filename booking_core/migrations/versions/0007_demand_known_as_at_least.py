"""Imported days whose demand is known only as "at least"."""

import sqlalchemy as sa
from alembic import op


revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('demand_history', sa.Column('censored', sa.Boolean(), nullable=False, server_default=sa.false(), comment='demand was at least so many units: the refused left no record'))


def downgrade() -> None:
    raise RuntimeError('no way back without loss: the sixth schema has no place for days known only as "at least": restore the backup')
