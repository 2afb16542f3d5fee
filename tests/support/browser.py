"""A real browser on a real dashboard: Debian's Chromium, and Streamlit as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.tools import free_port, require_tool

PROJECT = Path(__file__).parents[2]
WAIT_MILLISECONDS = 60_000
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def dashboard(database_url: str, folder: Path, **environment: str) -> Iterator[str]:
    """The address of a dashboard on the database; stopped on exit.

    folder: where its log goes; the environment is added to the process's own. Raises RuntimeError with
    the log where it does not answer within 60 s.
    """
    port = free_port()
    command = [
        sys.executable, "-m", "streamlit", "run", "dashboard/app.py",
        "--server.address", "127.0.0.1", "--server.port", str(port), "--server.fileWatcherType", "none",
    ]  # fmt: skip
    ours = {k: v for k, v in os.environ.items() if not k.startswith("SLOTCAST_")}
    log = folder / "dashboard.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=ours | {"SLOTCAST_DATABASE_URL": database_url} | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


@contextmanager
def browser_page(*, width: int = 1360, height: int = 900) -> Iterator[Page]:
    """A fresh page of headless Chromium; skips where Chromium is not installed."""
    chromium = require_tool("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, headless=True, args=list(CHROMIUM_FLAGS)
        )
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(WAIT_MILLISECONDS)
            expect.set_options(timeout=WAIT_MILLISECONDS)
            yield page
        finally:
            browser.close()


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/_stcore/health", timeout=2).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise RuntimeError(f"the dashboard did not start:\n{log.read_text(errors='replace')}")
