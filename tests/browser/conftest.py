"""A headless Chromium, and the service as `mentorsync up` runs it.

Chromium is not on every machine. Without it, these tests are skipped, or they fail if MENTORSYNC_TEST_BROWSER is
"required".
"""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.server_process import WAIT_SECONDS, Database
from tests.up_process import UpProcess

NewPage = Callable[..., Awaitable[Page]]
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of an installed Chromium."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path:
        return path
    message = "Chromium is not installed (on Debian: apt-get install chromium)"
    if os.environ.get("MENTORSYNC_TEST_BROWSER") == "required":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=1_000 * WAIT_SECONDS)  # the default of 5 s is short for a busy machine
    async with async_playwright() as playwright:
        # Chromium's own sandbox does not run as root, and /dev/shm is small in containers.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = await playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        await browser.close()


@pytest.fixture
async def new_page(browser: Browser) -> AsyncIterator[NewPage]:
    """Opens a page. It fails the test if its console shows an error or a warning without the text `expected`."""
    contexts: list[BrowserContext] = []
    messages: list[str] = []

    async def open_page(expected: str | None = None) -> Page:
        def note(text: str) -> None:
            if expected is None or expected not in text:
                messages.append(text)

        contexts.append(await browser.new_context(viewport={"width": 1360, "height": 850}))
        page = await contexts[-1].new_page()
        page.on("console", lambda message: note(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: messages.append(str(error)))
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert not messages


@pytest.fixture
async def page(new_page: NewPage) -> Page:
    """A page that fails the test if its console shows an error or a warning."""
    return await new_page()


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    """The service, for all tests of this folder: each uses mentors of its own."""
    folder = tmp_path_factory.mktemp("up")
    process = UpProcess(Database(folder / "mentorsync.db"), folder / "up.log", [])
    yield process
    process.signal(signal.SIGTERM)
    process.end()
