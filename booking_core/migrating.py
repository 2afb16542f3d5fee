"""The schema brought up to date, and whether it is."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from booking_core.database import write_transaction


def config(connection: Connection) -> Config:
    """Alembic's configuration for the connection."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    made.attributes["connection"] = connection
    return made


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest schema; a database that is there already stays as it is."""
    with write_transaction(engine) as connection:
        command.upgrade(config(connection), "head")


def stamp(engine: Engine) -> None:
    """Mark a database whose tables were made by `metadata.create_all` as being at the newest schema."""
    with write_transaction(engine) as connection:
        command.stamp(config(connection), "head")


def pending(connection: Connection) -> str | None:
    """The newest revision if the database is not at it, None if it is."""
    head = ScriptDirectory.from_config(config(connection)).get_current_head()
    return None if MigrationContext.configure(connection).get_current_revision() == head else head
