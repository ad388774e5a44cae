"""The documentation page in a real browser, behind its own content policy."""

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.contract import BASE
from tests.up_process import UpProcess

CALLS = ("List sync events", "Get mentor status", "Submit event", "Update event", "Delete event", "Stream sync events")
MENU_ENTRY = ".nav-bar-path"
TRY = "[part~=btn-try]"
MENTOR = "mntr_01HX4V2K8P"  # in the contract's example, which the page fills in


@pytest.fixture
async def docs(page: Page, up: UpProcess) -> Page:
    """The page, opened."""
    await page.goto(f"{up.url}/docs")
    return page


async def test_the_page_lists_the_calls(docs: Page) -> None:
    """It has the project's name, and a menu of the calls."""
    await expect(docs).to_have_title("MentorStatusSync API")
    for call in CALLS:
        await expect(docs.locator(MENU_ENTRY, has_text=call)).to_be_visible()


async def test_a_submit_that_is_sent_from_the_page_is_in_the_list(docs: Page, up: UpProcess) -> None:
    """The request is the contract's example."""
    await open_call(docs, "Submit event")
    async with docs.expect_response(f"{up.url}{BASE}/events") as sent:
        await docs.locator(TRY).click()
    submitted = await (await sent.value).json()
    async with httpx.AsyncClient(base_url=up.url) as client:
        listed = (await client.get(BASE, params={"mentor_id": MENTOR})).json()["data"]
    assert [event["sync_event_id"] for event in listed] == [submitted["sync_event_id"]]
    assert listed[0]["mentor_id"] == MENTOR
    await expect(docs.get_by_text(submitted["sync_event_id"])).to_be_visible()


async def test_a_stream_that_is_sent_from_the_page_ends_and_is_shown(docs: Page) -> None:
    """The page shows an answer when it is complete. Until then, it lets no other call be sent."""
    await open_call(docs, "Stream sync events")
    await docs.locator(TRY).click()
    await expect(docs.get_by_text("event: going-away")).to_be_visible(timeout=30_000)
    await expect(docs.locator(TRY)).to_be_enabled()


async def test_calls_carry_the_token_that_was_entered(docs: Page) -> None:
    """The page itself needs no token."""
    await docs.locator("#link-auth").click()
    await docs.get_by_placeholder("api-token").fill("a.b.c")
    await docs.get_by_role("button", name="SET").click()
    await open_call(docs, "List sync events")
    async with docs.expect_request(lambda request: request.url.partition("?")[0].endswith(BASE)) as listed:
        await docs.locator(TRY).click()
    assert (await listed.value).headers["authorization"] == "Bearer a.b.c"


async def open_call(docs: Page, name: str) -> None:
    await docs.locator(MENU_ENTRY, has_text=name).click()
    await expect(docs.locator(TRY)).to_be_visible()
