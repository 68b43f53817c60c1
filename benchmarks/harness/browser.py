"""A chromium of this machine, driven by Playwright: what tests and screenshots look at the page with."""

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Without a GPU and without anything that it would say to its maker.
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--mute-audio", "--autoplay-policy=no-user-gesture-required"),
]


def executable() -> str | None:
    """The browser's path; None where there is no browser."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def launch(playwright: "Playwright") -> "Browser":
    return playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
