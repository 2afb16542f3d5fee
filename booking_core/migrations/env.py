"""Alembic's environment: one connection handed over by booking_core.migrating."""

from __future__ import annotations

from alembic import context

from booking_core import tables, tables_forecast  # noqa: F401 – its tables are on the same metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    compare_type=True,
    render_as_batch=context.config.attributes["connection"].dialect.name == "sqlite",
    user_module_prefix="booking_core.tables.",
)
with context.begin_transaction():
    context.run_migrations()
