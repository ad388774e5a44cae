"""The console in a real browser, against the real service."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NewPage
from tests.client.losing_proxy import LosingProxy
from tests.contract import BASE
from tests.edge.conftest import running_up
from tests.edge.tokens import Issuer, jwt_settings
from tests.up_process import UpProcess

MAX_ROWS = 200
NOT_HTML = "<img src=/x onerror=alert(1)>"


@pytest.fixture
async def client(up: UpProcess) -> AsyncIterator[httpx.AsyncClient]:
    """The calls of other clients."""
    async with httpx.AsyncClient(base_url=f"{up.url}{BASE}", timeout=20) as client:
        yield client


async def open_console(page: Page, url: str) -> Page:
    await page.goto(f"{url}/console")
    await expect(page.get_by_role("status").first).to_contain_text("Live")
    return page


async def submit(page: Page, mentor_id: str, event_type: str = "Pause") -> None:
    await page.get_by_label("Mentor", exact=True).fill(mentor_id)
    await page.get_by_label("Event", exact=True).select_option(event_type)
    await page.get_by_role("button", name="Submit").click()


async def submit_elsewhere(client: httpx.AsyncClient, mentor_id: str) -> str:
    event = {"event_type": "PauseMentorEvent", "mentor_id": mentor_id}
    answer = (await client.post("/events", json=event)).raise_for_status().json()
    return str(answer["sync_event_id"])


def events(page: Page, mentor_id: str = "") -> Locator:
    return page.locator("#events li", has_text=mentor_id)


def mentor(page: Page, mentor_id: str) -> Locator:
    return page.locator("#mentors li", has_text=mentor_id)


async def test_what_is_done_in_one_page_shows_in_the_other(new_page: NewPage, up: UpProcess) -> None:
    """A submit, an acknowledgement and a deletion. The mentor's status stays."""
    first, second = [await open_console(await new_page(), up.url) for _ in range(2)]
    await submit(first, "mntr_two1")
    await submit(first, "mntr_two2", "Deactivate")
    for page in (first, second):
        await expect(events(page, "mntr_two1")).to_contain_text("Pause")
        await expect(events(page, "mntr_two2")).to_contain_text("accepted")
        await expect(mentor(page, "mntr_two2")).to_contain_text("inactive")
    await second.get_by_role("button", name="Acknowledge Pause of mntr_two1").click()
    await expect(events(first, "mntr_two1")).to_have_count(0)
    first.on("dialog", lambda dialog: dialog.accept())
    await first.get_by_role("button", name="Delete Deactivate of mntr_two2").click()
    for page in (first, second):
        await expect(events(page, "mntr_two2")).to_have_count(0)
        await expect(mentor(page, "mntr_two1")).to_contain_text("paused")
    await expect(first.locator("#latency")).to_contain_text("ms")


async def test_an_event_that_was_not_accepted_is_marked(page: Page, up: UpProcess) -> None:
    """It is no pending event, and sets no status."""
    await open_console(page, up.url)
    await submit(page, "mntr_not1", "Deactivate")
    await expect(mentor(page, "mntr_not1")).to_contain_text("inactive")
    pending = await page.locator("#pending").inner_text()
    await submit(page, "mntr_not1", "Resume")
    await expect(events(page, "mntr_not1").first).to_contain_text("not accepted")
    await expect(mentor(page, "mntr_not1")).to_contain_text("inactive")
    assert await page.locator("#pending").inner_text() == pending


async def test_a_cut_connection_loses_and_doubles_nothing(
    new_page: NewPage, up: UpProcess, client: httpx.AsyncClient
) -> None:
    """What changed meanwhile comes once: new events, and one that is gone."""
    page = await new_page(expected="net::ERR_")
    old = await submit_elsewhere(client, "mntr_cut0")
    with LosingProxy(up.url.removeprefix("http://")) as proxy:
        await open_console(page, f"http://{proxy.target}")
        await expect(events(page, "mntr_cut0")).to_have_count(1)
        proxy.cut()
        await expect(page.get_by_role("status").first).to_contain_text("Connection lost")
        for number in range(1, 6):
            await submit_elsewhere(client, f"mntr_cut{number}")
        await client.put(f"/events/{old}", json={"acknowledged": True})
        await expect(page.get_by_role("status").first).to_contain_text("Live")
        await expect(page.locator("#total")).to_have_text("6")
        shown = await events(page, "mntr_cut").locator(".mentor-id").all_inner_texts()
        assert shown == [f"mntr_cut{number}" for number in (5, 4, 3, 2, 1)]
        await page.close()


async def test_one_mentor_can_be_watched_alone(page: Page, up: UpProcess, client: httpx.AsyncClient) -> None:
    """Also a mentor whose events are all acknowledged, and who is therefore not in the present state of all."""
    known = await submit_elsewhere(client, "mntr_alone")
    await client.put(f"/events/{known}", json={"acknowledged": True})
    await submit_elsewhere(client, "mntr_other")
    await open_console(page, up.url)
    await expect(mentor(page, "mntr_alone")).to_have_count(0)
    await page.get_by_label("Filter by mentor").fill("mntr_alone")
    await page.keyboard.press("Enter")
    await expect(mentor(page, "mntr_alone")).to_contain_text("paused")
    await expect(page.locator("#mentors li")).to_have_count(1)
    await page.get_by_role("button", name="Watch all mentors").click()
    await expect(events(page, "mntr_other")).to_have_count(1)


SNAPSHOT = {"mentor_id": "mntr_1", "status": "paused", "last_updated": "2026-03-26T09:15:00Z"}


async def test_a_snapshot_replaces_what_is_known_of_its_mentor(page: Page, up: UpProcess) -> None:
    """It comes without a reset if the page was away for long. What it does not show is no longer pending."""
    gone, kept = (change(name)["event"] | {"mentor_id": "mntr_1"} for name in ("mntr_gone", "mntr_kept"))
    stream = "".join(
        f"event: snapshot\ndata: {json.dumps(SNAPSHOT | {'pending_events': pending})}\n\n"
        for pending in ([gone, kept], [kept])
    )
    other = f"event: change\ndata: {json.dumps(change('mntr_2'))}\n\n"
    body = f"retry: 3600000\n\n{other}{stream}event: current\ndata: {{}}\n\n"
    await page.route("**/watch", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    await page.goto(f"{up.url}/console")
    await expect(events(page)).to_have_count(2)
    await expect(page.locator("#pending")).to_have_text("2")
    await expect(events(page, "mntr_2")).to_have_count(1)


async def test_rows_stay_under_the_pointer(page: Page, up: UpProcess, client: httpx.AsyncClient) -> None:
    """While one points at the list, a new event waits, so that a click reaches the row that was meant."""
    await open_console(page, up.url)
    await submit(page, "mntr_hold1")
    await events(page, "mntr_hold1").hover()
    total = int(await page.locator("#total").inner_text())
    await submit_elsewhere(client, "mntr_hold2")
    await expect(page.locator("#total")).to_have_text(str(total + 1))
    await expect(events(page, "mntr_hold2")).to_have_count(0)
    await page.mouse.move(1, 1)
    await expect(events(page, "mntr_hold2")).to_have_count(1)


async def test_the_keyboard_stays_in_the_list(page: Page, up: UpProcess, client: httpx.AsyncClient) -> None:
    """When the row with the focus goes, the next row gets the focus."""
    for number in (1, 2):
        await submit_elsewhere(client, f"mntr_key{number}")
    await open_console(page, up.url)
    await page.get_by_label("Filter by mentor").fill("mntr_key")
    await page.get_by_role("button", name="Acknowledge Pause of mntr_key2").focus()
    await page.keyboard.press("Enter")
    await expect(events(page, "mntr_key2")).to_have_count(0)
    await expect(page.get_by_role("button", name="Acknowledge Pause of mntr_key1")).to_be_focused()


async def test_thousands_of_mentors_are_a_few_hundred_rows(page: Page, up: UpProcess) -> None:
    """The figures count all of them, and the filter finds each. Text of the service is never HTML."""
    changes = [change(f"mntr_{number}") for number in range(5_000)] + [change(NOT_HTML)]
    present = f"retry: 3600000\n\nevent: present\ndata: {json.dumps({'changes': changes})}\n\n"
    await page.route("**/watch", lambda route: route.fulfill(content_type="text/event-stream", body=present))
    await page.goto(f"{up.url}/console")
    await expect(page.locator("#mentor-count")).to_have_text("5,001")
    await expect(page.locator("#pending")).to_have_text("5,001")
    for rows in (page.locator("#mentors li"), events(page)):
        await expect(rows).to_have_count(MAX_ROWS)
    await expect(events(page).first).to_contain_text(NOT_HTML)
    assert await page.locator("img").count() == 0
    await page.get_by_label("Filter by mentor").fill("mntr_1234")
    await expect(events(page)).to_have_count(1)


def change(mentor_id: str) -> dict[str, Any]:
    event = {
        "sync_event_id": f"evt_{mentor_id}",
        "mentor_id": mentor_id,
        "event_type": "PauseMentorEvent",
        "server_timestamp": "2026-03-26T09:15:00Z",
        "acknowledged": False,
    }
    return {"event": event, "accepted": True, "pending": True, "deleted": False, "mentor_status": "paused"}


async def test_a_token_is_asked_for_and_used(new_page: NewPage, tmp_path: Path) -> None:
    """The page itself is public. A token that is not valid is reported, and a valid one reaches its mentor alone."""
    issuer, keys = Issuer(), tmp_path / "keys.json"
    issuer.publish(keys)
    page = await new_page(expected="responded with a status of 40")
    with running_up(tmp_path, "embedded", **jwt_settings(keys)) as up:
        await page.goto(f"{up.url}/console")
        token = page.get_by_label("This service requires an access token")
        await expect(token).to_be_focused()
        await token.fill("not.a.token")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("The token is invalid or has expired.")).to_be_visible()
        await token.fill(issuer.token())
        await page.get_by_role("button", name="Connect").click()
        await expect(page.get_by_role("status").first).to_contain_text("Live")
        await expect(token).to_be_hidden()
        await submit(page, "mntr_1")
        await expect(events(page, "mntr_1")).to_have_count(1)
        await submit(page, "mntr_2")
        await expect(page.locator("#error")).to_contain_text("the token must name this mentor")
        await page.close()
