"""The live feed in a browser's own EventSource: it reconnects by itself, without a gap and without a repetition."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page

from tests.browser.cutting_proxy import CuttingProxy, cutting_proxy
from tests.contract import BASE
from tests.server_process import WAIT_SECONDS, command, environment
from tests.up_process import UpProcess

# A page notes every event, with the cursor that the browser would reconnect with.
LISTEN = """url => {
  window.steps = [];
  window.source = new EventSource(url);
  for (const kind of ["snapshot", "present", "current", "change", "reset", "going-away"])
    source.addEventListener(kind, event => steps.push({kind, data: JSON.parse(event.data), id: event.lastEventId}));
}"""
EXAMPLE = re.compile(r"^```javascript\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIVE_FEED = Path(__file__).parents[2] / "docs" / "live-feed.md"
COUNT = "([kind, count]) => steps.filter(step => step.kind === kind).length >= count"


@pytest.fixture
async def proxy(up: UpProcess) -> AsyncIterator[CuttingProxy]:
    async with cutting_proxy(up.url) as proxy:
        yield proxy


@pytest.fixture
async def client(up: UpProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=up.url, timeout=WAIT_SECONDS) as client:
        yield client


@pytest.fixture
async def listening(browser: Browser, proxy: CuttingProxy) -> AsyncIterator[Page]:
    """A page of the proxy's origin that follows all changes from now on. Its console shows the lost connections."""
    context = await browser.new_context(bypass_csp=True)  # Playwright waits by evaluating a text
    page = await context.new_page()
    await page.goto(f"{proxy.url}/docs", wait_until="commit")
    await page.evaluate(LISTEN, f"{BASE}/watch?changes_only=true")
    await steps_until(page, "current", 1)
    yield page
    await context.close()


async def steps_until(page: Page, kind: str, count: int) -> list[dict[str, Any]]:
    """All steps so far, once there are so many of a kind."""
    await page.wait_for_function(COUNT, arg=[kind, count])
    steps: list[dict[str, Any]] = await page.evaluate("steps")
    return steps


async def submitted(client: httpx.AsyncClient, mentor_id: str = "mntr_1") -> str:
    """The id of a new event."""
    answer = await client.post(f"{BASE}/events", json={"mentor_id": mentor_id, "event_type": "PauseMentorEvent"})
    event: str = answer.json()["sync_event_id"]
    return event


def purge(up: UpProcess) -> None:
    settings = environment({"database_url": up.database.url})
    subprocess.run([*command("purge"), "--older-than", "0s"], env=settings, check=True, stdout=subprocess.DEVNULL)


async def test_a_lost_connection_leaves_no_gap_and_repeats_nothing(
    listening: Page, proxy: CuttingProxy, client: httpx.AsyncClient
) -> None:
    """The browser sends the last id that it got, and no page code takes part."""
    events = [await submitted(client)]
    await steps_until(listening, "change", 1)
    with proxy.away():
        events += [await submitted(client) for _ in range(5)]
    await steps_until(listening, "current", 2)
    events.append(await submitted(client))
    steps = await steps_until(listening, "change", len(events))
    assert [step["data"]["event"]["sync_event_id"] for step in steps if step["kind"] == "change"] == events
    assert "reset" not in {step["kind"] for step in steps}


async def test_an_expired_cursor_is_reset(
    listening: Page, proxy: CuttingProxy, client: httpx.AsyncClient, up: UpProcess
) -> None:
    """The page is told to drop its state. It goes on by itself, with cursors that can be continued.

    The expired cursor is dropped, too: if the connection is lost within the present state, the browser begins anew.
    """
    with proxy.away():
        await client.delete(f"{BASE}/events/{await submitted(client)}")
        await asyncio.to_thread(purge, up)
    await steps_until(listening, "current", 2)
    event = await submitted(client)
    first, reset, current, change = await steps_until(listening, "change", 1)
    assert (reset["kind"], reset["data"], reset["id"]) == ("reset", {"reason": "EXPIRED"}, "")
    assert (current["kind"], change["data"]["event"]["sync_event_id"]) == ("current", event)
    assert len({first["id"], current["id"], change["id"]}) == 3


async def test_the_example_in_the_documentation_runs(listening: Page, client: httpx.AsyncClient) -> None:
    """As it is written there."""
    (example,) = EXAMPLE.findall(LIVE_FEED.read_text())
    await listening.evaluate(f"() => {{ {example} window.statuses = statuses; }}")
    await submitted(client, "mntr_01HX4V2K8P")
    await listening.wait_for_function("statuses.get('mntr_01HX4V2K8P') === 'paused'")
