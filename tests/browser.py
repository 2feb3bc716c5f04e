"""A real browser for tests of pages: Debian's headless Chromium."""

import contextlib
import shutil

import pytest

_MISSING = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
needs_browser = pytest.mark.skipif(
    bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)} (Debian: chromium-driver)"
)


@contextlib.contextmanager
def open_browser(*flags: str):
    """Chromium for the time of the block; what its pages log can be read."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    usual = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    for flag in (*usual, *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()
