"""What each model said of the coming days, kept with its run; runs made before have none."""

import sqlalchemy as sa
from alembic import op


revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'forecast_parts',
        sa.Column('run_id', sa.String(64), nullable=False),
        sa.Column('branch_id', sa.String(64), nullable=False),
        sa.Column('part', sa.String(32), nullable=False, comment='forecast | one of the models it is combined from'),
        sa.Column('first_day', sa.Date(), nullable=False),
        sa.Column('days', sa.Integer(), nullable=False),
        sa.Column('data', sa.LargeBinary(), nullable=False, comment='zlib(float32[levels, days], C order)'),
        sa.ForeignKeyConstraint(['run_id'], ['forecast_runs.run_id'], name=op.f('fk_forecast_parts_run_id')),
        sa.PrimaryKeyConstraint('run_id', 'branch_id', 'part', name=op.f('pk_forecast_parts')),
        comment='What each model said: where a total is shared out, each is trusted by what it would have served',
    )


def downgrade() -> None:
    op.drop_table('forecast_parts')
