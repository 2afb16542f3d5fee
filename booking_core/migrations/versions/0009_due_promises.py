"""The day that a promise falls due, so that those due last are found; promises made before get theirs."""

import sqlalchemy as sa
from alembic import op


revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None

DUE = {
    'postgresql': "COALESCE((promise->>'by')::date, latest_day) WHERE promise->>'chance' IS NOT NULL",
    'sqlite': "COALESCE(json_extract(promise, '$.by'), latest_day) WHERE json_extract(promise, '$.chance') IS NOT NULL",
}


def upgrade() -> None:
    op.add_column('waitlist', sa.Column('due_day', sa.Date(), comment='by when the promise is to be kept; null = nothing was promised'))
    op.execute(f'UPDATE waitlist SET due_day = {DUE[op.get_bind().dialect.name]}')
    op.create_index('ix_waitlist_due', 'waitlist', ['due_day', 'entry_ref'])
    op.drop_index('ix_waitlist_joined', table_name='waitlist')


def downgrade() -> None:
    op.create_index('ix_waitlist_joined', 'waitlist', ['joined_utc', 'entry_ref'])
    op.drop_index('ix_waitlist_due', table_name='waitlist')
    op.drop_column('waitlist', 'due_day')
