"""The documentation page in a real browser, behind its own content policy."""

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.contract import BASE
from tests.up_process import UpProcess

CALLS = ("List sync events", "Get mentor status", "Submit event", "Update event", "Delete event")
TRY = "[part~=btn-try]"
MENTOR = "mntr_01HX4V2K8P"  # in the contract's example, which the page fills in


@pytest.fixture
def docs(page: Page, up: UpProcess) -> Page:
    """The page, opened."""
    page.goto(f"{up.url}/docs")
    return page


def test_the_page_lists_the_calls(docs: Page) -> None:
    """It has the project's name, and a menu of the calls."""
    expect(docs).to_have_title("MentorStatusSync API")
    for call in CALLS:
        expect(docs.locator(".nav-bar-path", has_text=call)).to_be_visible()


def test_a_submit_that_is_sent_from_the_page_is_in_the_list(docs: Page, up: UpProcess) -> None:
    """The request is the contract's example."""
    open_call(docs, "Submit event")
    with docs.expect_response(f"{up.url}{BASE}/events") as submitted:
        docs.locator(TRY).click()
    assert submitted.value.status == 200
    listed = httpx.get(f"{up.url}{BASE}").json()["data"]
    assert [event["sync_event_id"] for event in listed] == [submitted.value.json()["sync_event_id"]]
    assert listed[0]["mentor_id"] == MENTOR
    expect(docs.get_by_text(listed[0]["sync_event_id"])).to_be_visible()


def test_calls_carry_the_token_that_was_entered(docs: Page) -> None:
    """The page itself needs no token."""
    docs.locator("#link-auth").click()
    docs.get_by_placeholder("api-token").fill("a.b.c")
    docs.get_by_role("button", name="SET").click()
    open_call(docs, "List sync events")
    with docs.expect_request(lambda request: request.url.partition("?")[0].endswith(BASE)) as listed:
        docs.locator(TRY).click()
    assert listed.value.headers["authorization"] == "Bearer a.b.c"


def open_call(docs: Page, name: str) -> None:
    docs.locator(".nav-bar-path", has_text=name).click()
    expect(docs.locator(TRY)).to_be_visible()
