"""The console's module for the feed, in a real browser: its parser, resuming, refusals and a silent connection."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Page

from tests.up_process import UpProcess

STREAM = (
    "\ufeffretry: 2500\n\n: a comment\nid: c1\n\n"
    "event: current\nid: c2\ndata: {}\n\n"
    'event: change\r\nid: c3\r\ndata: {"name":\r\ndata: "Zoë \u2028 😀"}\r\n\r\n'
    "data\rdata:two\rdata:  three\r\rretry: soon\nid: no\0id\nevent: none\n\nid: never\ndata: unfinished"
)
EVENTS = [
    {"type": "current", "data": "{}"},
    {"type": "change", "data": '{"name":\n"Zoë \u2028 😀"}'},
    {"type": "message", "data": "\ntwo\n three"},
]
# Cuts the stream's bytes at each place, and from there on into pieces of each size.
PARSE_PIECES = """async ([stream, sizes]) => {
  const { EventStreamParser } = await import("/console/feed.js");
  const bytes = new TextEncoder().encode(stream);
  const results = new Set();
  for (const size of sizes) for (let first = 0; first < bytes.length; first += 1) {
    const decoder = new TextDecoder(), parser = new EventStreamParser(), events = [];
    const ends = [first];
    while (ends.at(-1) < bytes.length) ends.push(ends.at(-1) + size);
    let begin = 0;
    for (const end of ends) {
      events.push(...parser.push(decoder.decode(bytes.slice(begin, end), { stream: true })));
      begin = end;
    }
    results.add(JSON.stringify({ events, id: parser.lastEventId, retry: parser.retryMilliseconds }));
  }
  return [...results].map((result) => JSON.parse(result));
}"""
# In place of a service: each answer is a status with pieces of a stream, and null keeps the stream open and silent.
FOLLOW = """async (answers) => {
  const { LiveFeed } = await import("/console/feed.js");
  window.seen = [];
  window.requests = [];
  window.signals = [];
  window.fetch = async (url, { headers, signal }) => {
    window.signals.push(signal);
    window.requests.push(headers["last-event-id"] ?? null);
    const [status, ...pieces] = answers.shift();
    const body = new ReadableStream({ start(controller) {
      signal.addEventListener("abort", () => controller.error(signal.reason));
      for (const piece of pieces) {
        if (piece === null) return;
        controller.enqueue(new TextEncoder().encode(piece));
      }
      controller.close();
    } });
    return new Response(body, { status });
  };
  window.feed = new LiveFeed("/watch", {
    onEvent: (type, data) => window.seen.push(type === "change" ? data.n : type),
    onState: (name, detail) => window.seen.push(detail?.reason ? `${name}: ${detail.reason}` : name),
  });
}"""
START = datetime(2026, 3, 26, tzinfo=UTC)
BLANK = '<link rel="icon" href="data:,">'
CURRENT = "id: c1\nevent: current\ndata: {}\n\n"


@pytest.fixture
async def blank(page: Page, up: UpProcess) -> Page:
    """A page of the service that runs nothing itself, with a clock that only the test moves."""
    await page.clock.install(time=START)
    await page.route("**/blank", lambda route: route.fulfill(content_type="text/html", body=BLANK))
    await page.goto(f"{up.url}/blank")
    await page.clock.pause_at(START + timedelta(days=1))  # until here it goes on by itself
    return page


async def follow(page: Page, *answers: list[Any]) -> None:
    """Starts a feed on these answers. A last one keeps the feed waiting."""
    await page.evaluate(FOLLOW, [*answers, [200, "retry: 1000\n\n", None]])


async def wait_for(page: Page, *, requests: int = 1, last: str) -> list[Any]:
    """Waits until so many requests were made and this was seen last, and returns all that was seen."""
    condition = "([count, last]) => requests.length === count && seen.at(-1) === last"
    await page.wait_for_function(condition, arg=[requests, last])
    seen: list[Any] = await page.evaluate("seen")
    return seen


async def test_a_stream_may_be_cut_anywhere(blank: Page) -> None:
    """Also within a character, a line end or a field. An event that is not finished counts for nothing."""
    results = await blank.evaluate(PARSE_PIECES, [STREAM, [1, 3, 10_000]])
    assert results == [{"events": EVENTS, "id": "c3", "retry": 2_500}]


async def test_a_stream_that_cannot_be_read_is_closed(blank: Page) -> None:
    """So that it does not count as a second stream of this page when the feed connects again."""
    await follow(blank, [200, CURRENT, "event: change\ndata: not JSON\n\n", None])
    await blank.wait_for_function("seen.at(-1).startsWith('lost: ')")
    assert await blank.evaluate("signals.map((signal) => signal.aborted)") == [True]


async def test_a_lost_stream_is_continued_after_the_last_id(blank: Page) -> None:
    """What is known stays. The change whose end was lost comes again."""
    lost = [
        200,
        "retry: 1000\n\n",
        CURRENT,
        'id: c2\nevent: change\ndata: {"n": 1}\n\nid: c3\nevent: change\ndata: {"n"',
    ]
    await follow(blank, lost, [200, 'id: c3\nevent: change\ndata: {"n": 2}\n\n', CURRENT, None])
    before = await wait_for(blank, last="lost: The connection ended")
    assert before[:-1] == ["connecting", "start", "present", "current", "live", 1]
    await blank.clock.fast_forward(1_000)
    seen = await wait_for(blank, requests=2, last="live")
    assert seen == [*before, "connecting", "catching-up", 2, "current", "live"]
    assert await blank.evaluate("requests") == [None, "c2"]


async def test_a_silent_connection_is_lost_after_three_heartbeats(blank: Page) -> None:
    """Heartbeats are at most 22 s apart."""
    await follow(blank, [200, "retry: 1000\n\n", CURRENT, ": heartbeat\nid: c5\n\n", None])
    await wait_for(blank, last="live")
    await blank.clock.fast_forward(65_000)
    assert (await blank.evaluate("seen"))[-1] == "live"
    await blank.clock.fast_forward(1_500)
    await wait_for(blank, last="lost: Three heartbeats were missed")
    await blank.clock.fast_forward(1_000)
    await wait_for(blank, requests=2, last="catching-up")
    assert await blank.evaluate("requests") == [None, "c5"]


async def test_a_reset_begins_again(blank: Page) -> None:
    """A loss during the new present state begins from the start, not after the old cursor."""
    reset = 'event: reset\ndata: {"reason":"EXPIRED"}\n\n'
    going = "retry: 1000\n\nevent: going-away\ndata: {}\n\n"
    await follow(blank, [200, CURRENT, going], [200, reset])
    await wait_for(blank, last="lost: The service ended the stream, as before a restart")
    await blank.clock.fast_forward(1_000)
    seen = await wait_for(blank, requests=2, last="lost: The connection ended")
    assert seen[-6:-1] == ["connecting", "catching-up", "start", "present", "reset"]
    await blank.clock.fast_forward(2_000)
    await wait_for(blank, requests=3, last="present")
    assert await blank.evaluate("requests") == [None, "c1", None]


async def test_a_closed_feed_is_silent(blank: Page) -> None:
    """After close() nothing is reported and nothing is asked for, also in the pause before another attempt."""
    await follow(blank, [503])
    await wait_for(blank, last="lost: The service answered with 503")
    await blank.evaluate("feed.close()")
    await blank.clock.fast_forward(60_000)
    assert await blank.evaluate("[seen.length, requests.length]") == [2, 1]


# In place of what happens between two steps of the feed.
CLOSE_AT_FIRST_CHANGE = """() => {
  seen.push = (entry) => {
    if (entry === 1) feed.close();
    seen[seen.length] = entry;
  };
}"""
CLOSE_BEHIND_ANSWER = """() => {
  const { fetch } = window;
  window.fetch = async (...request) => {
    const answer = await fetch(...request);
    feed.close();
    return answer;
  };
}"""


@pytest.mark.parametrize(
    ("closing", "seen"),
    [(CLOSE_AT_FIRST_CHANGE, ["connecting", "start", "present", 1]), (CLOSE_BEHIND_ANSWER, ["connecting"])],
    ids=["in a handler", "when the answer has come"],
)
async def test_a_feed_may_be_closed_at_any_moment(blank: Page, closing: str, seen: list[Any]) -> None:
    """What has come already is not reported any more. Another feed may have begun."""
    await follow(blank, [503], [200, 'event: change\ndata: {"n": 1}\n\nevent: change\ndata: {"n": 2}\n\n', None])
    before = await wait_for(blank, last="lost: The service answered with 503")
    await blank.evaluate(closing)
    await blank.clock.fast_forward(3_000)
    await blank.wait_for_function("requests.length === 2 && signals[1].aborted")
    await blank.clock.fast_forward(60_000)
    assert await blank.evaluate("[...seen]") == [*before, *seen]
