"""Plans of kind extra: what the column may hold, told where the database keeps comments."""

import sqlalchemy as sa
from alembic import op


revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == 'postgresql':
        op.alter_column('plans', 'kind', existing_type=sa.String(8), existing_nullable=False, comment='quota | server | extra')


def downgrade() -> None:
    raise RuntimeError('no way back without loss: the fifth schema has no place for extra plans: restore the backup')
