"""Plans that wait are found however many are newer."""

from alembic import op


revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_plans_status', 'plans', ['status', 'kind', 'region_id'])


def downgrade() -> None:
    op.drop_index('ix_plans_status', table_name='plans')
