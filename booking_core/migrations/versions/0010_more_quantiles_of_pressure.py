"""More quantiles of the pressure forecast: what a worker is worth is read off the whole distribution."""

import sqlalchemy as sa
from alembic import op


revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None

COMMENT = 'null in runs before migration 0010'
ADDED = ('q10_rps', 'q25_rps', 'q75_rps', 'q95_rps', 'q975_rps', 'q99_rps')


def upgrade() -> None:
    for name in ADDED:
        op.add_column('forecast_pressure', sa.Column(name, sa.Float(), comment=COMMENT))


def downgrade() -> None:
    # the next training writes them anew
    for name in reversed(ADDED):
        op.drop_column('forecast_pressure', name)
