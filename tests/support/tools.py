"""Programs that tests run for real; missing ones skip, under CI=true they fail."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")


def require_tool(name: str, debian_package: str) -> str:
    """The path of the program; otherwise the test is skipped (under CI=true: failed)."""
    candidate = shutil.which(name) or shutil.which(name, path=str(POSTGRES_BIN))
    if candidate:
        return candidate
    message = f"{name} is not installed: apt-get install {debian_package}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
