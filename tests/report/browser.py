"""A real browser: headless Chromium, one process a look, each with a fresh profile and no network of its own.

It opens a file, takes a picture of it, hands back the document as the browser understood it and what its console said.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CHROMIUM", "Look", "look_at"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--hide-scrollbars", "--enable-logging=stderr", "--dump-dom"),
)
DARK, LIGHT = 0, 1  # as Blink numbers them
SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the browser made of a page: its document after the scripts ran, and the lines of its console."""

    document: str
    console: tuple[str, ...]


def look_at(page: Path, picture: Path, *, dark: bool = False, width: int = 1280, height: int = 4000) -> Look:
    """Open a page and write a picture of it; RuntimeError if the browser fails or does not end."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as profile:
        options = [
            f"--user-data-dir={profile}",
            f"--blink-settings=preferredColorScheme={DARK if dark else LIGHT}",
            f"--screenshot={picture}",
            f"--window-size={width},{height}",
        ]
        command = [CHROMIUM, *FLAGS, *options, page.resolve().as_uri()]
        browser = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        try:
            document, said = browser.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"the browser did not end within {SECONDS:.0f} seconds") from error
        finally:
            if browser.poll() is None:
                os.killpg(browser.pid, signal.SIGKILL)
                browser.wait()
    lines = said.decode("utf-8", "replace").splitlines()
    if browser.returncode or not picture.exists():
        raise RuntimeError(f"the browser failed with {browser.returncode}: {lines[-5:]}")
    return Look(document=document.decode("utf-8"), console=tuple(line for line in lines if ":CONSOLE:" in line))
