"""A booking's whole life: offers, funds, temporary quotas, the waitlist, and one key for each counter."""

import sqlalchemy as sa
from alembic import op

from booking_core.tables import UtcDateTime


revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == 'postgresql'
    op.drop_column('attempts', 'first_remedy')

    op.add_column('booking_events', sa.Column('slot_id', sa.String(96), comment='the slot from then on; null before issue 3'))
    op.add_column('bookings', sa.Column('reserved_cny', sa.BigInteger(), comment='yuan that count against funds caps, rounded up'))
    for name in ('checked_in_utc', 'service_started_utc', 'service_ended_utc'):
        op.add_column('bookings', sa.Column(name, UtcDateTime(timezone=True), comment='wall time'))
    op.drop_index('ix_bookings_held_until', 'bookings')
    op.drop_index('uq_bookings_live_loan', 'bookings')
    _partial_index('ix_bookings_held_until', 'bookings', 'held_until_utc', "status IN ('held', 'offered')")
    _partial_index('uq_bookings_live_loan', 'bookings', 'loan_ref', "status IN ('offered', 'held', 'confirmed', 'checked_in')", unique=True)
    if postgresql:  # SQLite keeps no comments, and would copy the table for them
        op.alter_column('bookings', 'status', comment='offered | held | confirmed | checked_in | completed | no_show | cancelled | expired')
        op.alter_column('bookings', 'held_until_utc', comment='wall time, of an offer or a hold; null once confirmed')

    with op.batch_alter_table('quotas') as quotas:
        quotas.alter_column('period_kind', type_=sa.String(16), existing_nullable=False, comment='day | week | month | funds_day')
        quotas.alter_column('limit_units', type_=sa.BigInteger(), existing_nullable=False, comment='units; CNY of a funds_day')

    op.add_column('quota_periods', sa.Column('period_id', sa.String(176), comment='scope_kind:scope_id:channel:period:start; locks are taken by it'))
    op.add_column('quota_periods', sa.Column('extra_units', sa.BigInteger(), comment='of temporaries in force'))
    op.execute(
        "UPDATE quota_periods SET extra_units = 0, period_id = scope_kind || ':' || scope_id || ':' || channel || ':' || period_kind "
        "|| ':' || CAST(period_start AS VARCHAR(10))"
    )
    with op.batch_alter_table('quota_periods') as periods:
        periods.alter_column('period_kind', type_=sa.String(16), existing_nullable=False)
        periods.alter_column('period_id', nullable=False)
        periods.alter_column('extra_units', nullable=False)
        periods.alter_column('used_units', type_=sa.BigInteger(), existing_nullable=False, comment='units; CNY of a funds_day')
        periods.alter_column('limit_units', type_=sa.BigInteger())
        periods.create_unique_constraint(op.f('uq_quota_periods_period_id'), ['period_id'])
    if postgresql:
        op.create_table_comment('quota_periods', 'The locked counter of one concrete period; limit in force = (override else standing) + extra')

    with op.batch_alter_table('idempotency_keys') as keys:  # a batch looks up many keys, mostly of one token
        keys.drop_constraint(op.f('pk_idempotency_keys'), type_='primary')
        keys.alter_column('key', existing_nullable=False, comment='first in the index: a batch looks many up')
        keys.create_primary_key(op.f('pk_idempotency_keys'), ['key', 'token_id'])

    op.drop_table('quota_temporaries')  # nothing ever wrote it
    op.create_table(
        'quota_temporaries',
        sa.Column('temporary_id', sa.String(64), nullable=False, comment='chosen by the operator: idempotent'),
        sa.Column('scope_kind', sa.String(8), nullable=False),
        sa.Column('scope_id', sa.String(64), nullable=False),
        sa.Column('channel', sa.String(16), nullable=False),
        sa.Column('period_kind', sa.String(16), nullable=False),
        sa.Column('period_start', sa.Date(), nullable=False),
        sa.Column('extra_units', sa.BigInteger(), nullable=False),
        sa.Column('expires_utc', UtcDateTime(timezone=True), nullable=False, comment='wall time'),
        sa.Column('created_utc', UtcDateTime(timezone=True), nullable=False),
        sa.Column('created_by', sa.String(64), nullable=False),
        sa.Column('ended_utc', UtcDateTime(timezone=True), comment='null = in force: counted in quota_periods.extra_units'),
        sa.PrimaryKeyConstraint('temporary_id', name=op.f('pk_quota_temporaries')),
        comment="Extra units with an expiry, on top of a period's limit",
    )
    _partial_index('ix_quota_temporaries_in_force', 'quota_temporaries', 'expires_utc', 'ended_utc IS NULL')

    _waitlist(postgresql=postgresql)


def downgrade() -> None:
    raise RuntimeError('no way back without loss: the first schema has no place for offers and funds caps: restore the backup')


def _waitlist(*, postgresql: bool) -> None:
    op.drop_index('ix_waitlist_queue', 'waitlist')
    op.add_column('waitlist', sa.Column('region_id', sa.String(32)))
    op.add_column('waitlist', sa.Column('latest_day', sa.Date(), comment='last day that suits'))
    op.add_column('waitlist', sa.Column('booking_ref', sa.String(40), comment='the offer, then the booking it became'))
    op.add_column('waitlist', sa.Column('actor', sa.String(64), comment='who put it on the list'))
    op.add_column('waitlist', sa.Column('closed_reason', sa.String(32), comment='why it left or expired, told to the customer'))
    op.add_column('waitlist', sa.Column('skipped_reason', sa.String(32), comment='why it cannot take what is free now; null = in turn'))
    op.execute(
        "UPDATE waitlist SET latest_day = wished_day, actor = 'migration', "
        "region_id = (SELECT b.region_id FROM branches b WHERE b.branch_id = waitlist.branch_id), "
        "status = CASE status WHEN 'offered' THEN 'waiting' ELSE status END"  # an offer is a booking from now on
    )
    op.execute(  # one live entry a loan: the one that waits longest
        "UPDATE waitlist SET status = 'left', closed_reason = 'migration' WHERE status = 'waiting' AND EXISTS (SELECT 1 FROM waitlist w "
        "WHERE w.loan_ref = waitlist.loan_ref AND w.status = 'waiting' AND (w.joined_utc < waitlist.joined_utc "
        "OR w.joined_utc = waitlist.joined_utc AND w.entry_ref < waitlist.entry_ref))"
    )
    with op.batch_alter_table('waitlist') as waitlist:
        for name in ('region_id', 'latest_day', 'actor'):
            waitlist.alter_column(name, nullable=False)
        waitlist.alter_column('wished_day', existing_nullable=False, comment='first day that suits')
        waitlist.drop_column('offered_slot_id')
        waitlist.drop_column('offer_expires_utc')
    op.create_index('ix_waitlist_queue', 'waitlist', ['branch_id', 'status', 'priority', 'joined_utc'])
    waits = sa.text("status = 'waiting'")
    op.create_index(
        'ix_waitlist_waiting',
        'waitlist',
        ['branch_id', 'skipped_reason', 'channel', 'wished_day', 'latest_day'],
        sqlite_where=waits,
        postgresql_where=waits,
    )
    _partial_index('uq_waitlist_live_loan', 'waitlist', 'loan_ref', "status IN ('waiting', 'offered')", unique=True)
    if postgresql:
        op.create_table_comment('waitlist', 'Who waits at a branch for a place on one of the days wished_day..latest_day')
    op.create_table(
        'waitlist_events',
        sa.Column('event_id', sa.Integer(), autoincrement=True, nullable=False),
        sa.Column('entry_ref', sa.String(40), nullable=False),
        sa.Column('at_utc', UtcDateTime(timezone=True), nullable=False),
        sa.Column('kind', sa.String(16), nullable=False, comment='joined | offered | skipped | accepted | expired | left | booked'),
        sa.Column('reason', sa.String(32), comment='why it was skipped, expired or left'),
        sa.Column('slot_id', sa.String(96), comment='the slot that was offered, or would have been'),
        sa.Column('actor', sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(['entry_ref'], ['waitlist.entry_ref'], name=op.f('fk_waitlist_events_entry_ref')),
        sa.PrimaryKeyConstraint('event_id', name=op.f('pk_waitlist_events')),
        comment='Append-only history of every entry',
    )
    op.create_index(op.f('ix_waitlist_events_entry_ref'), 'waitlist_events', ['entry_ref'])


def _partial_index(name: str, table: str, column: str, where: str, *, unique: bool = False) -> None:
    op.create_index(name, table, [column], unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
