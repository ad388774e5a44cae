"""A headless Chromium, and the service as `mentorsync up` runs it.

Chromium is not on every machine. Without it, these tests are skipped, or they fail if CI is set or if
MENTORSYNC_TEST_BROWSER is "required".
"""

import os
import shutil
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.server_process import Database
from tests.up_process import UpProcess

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of an installed Chromium."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path:
        return path
    message = "Chromium is not installed (on Debian: apt-get install chromium)"
    if os.environ.get("CI") or os.environ.get("MENTORSYNC_TEST_BROWSER") == "required":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not run as root, and its default /dev/shm is small in containers.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test if its console shows an error or a warning."""
    context = browser.new_context(viewport={"width": 1360, "height": 850})
    page = context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    yield page
    context.close()
    assert not messages


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    """The service on an empty database, for all tests of a module."""
    folder = tmp_path_factory.mktemp("up")
    process = UpProcess(Database(folder / "mentorsync.db"), folder / "up.log", [])
    yield process
    process.signal(signal.SIGTERM)
    process.end()
