"""The last to join the waitlist are found without looking at all who ever did."""

from alembic import op


revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_waitlist_joined', 'waitlist', ['joined_utc', 'entry_ref'])


def downgrade() -> None:
    op.drop_index('ix_waitlist_joined', table_name='waitlist')
