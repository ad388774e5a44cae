"""The service's public API over HTTP."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from mentorsync.simulate.phone import OK, Answer, Tap, UnreachableError
from mentorsync.simulate.view import FeedEvent

BASE = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync"
CALL_SECONDS = 10.0
SILENCE_SECONDS = 60.0  # three heartbeats of the feed
PAGE = 100  # the largest page of the list
# For all phones together. At each call, httpx looks at every connection and every waiting call: with a connection for
# each of 500 phones it spends its time on that, falls behind, opens more, and gets slower still.
CONNECTIONS = 20


class Api:
    def __init__(self, url: str, token: str | None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        limits = httpx.Limits(max_connections=CONNECTIONS)
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=CALL_SECONDS, limits=limits)

    async def close(self) -> None:
        await self._client.aclose()

    async def submit(self, tap: Tap, answer_seconds: float = CALL_SECONDS) -> Answer:
        """Hangs up if the answer takes longer. Only the wait for it is cut, so that no connection stays half open."""
        body = {name: value for name, value in tap._asdict().items() if name != "key"}
        timeout = httpx.Timeout(CALL_SECONDS, read=answer_seconds)
        return await self._call("POST", "/events", json=body, headers={"idempotency-key": tap.key}, timeout=timeout)

    async def snapshot(self, mentor_id: str) -> Answer:
        return await self._call("GET", f"/{mentor_id}")

    async def page(self, number: int, mentor_id: str | None = None) -> Answer:
        query = {"page": number, "limit": PAGE} | ({"mentor_id": mentor_id} if mentor_id else {})
        return await self._call("GET", "", params=query)

    async def watch(self, mentor_id: str | None, cursor: str | None) -> AsyncIterator[FeedEvent]:
        query = {"mentor_id": mentor_id} if mentor_id else {"changes_only": "true"}
        headers = {"last-event-id": cursor} if cursor else {}
        timeout = httpx.Timeout(CALL_SECONDS, read=SILENCE_SECONDS)
        try:
            async with self._client.stream(
                "GET", f"{BASE}/watch", params=query, headers=headers, timeout=timeout
            ) as response:
                if response.status_code != OK:
                    raise UnreachableError(f"the feed answers {response.status_code}")
                async for event in parse(response.aiter_lines()):
                    yield event
        except httpx.TransportError as error:
            raise UnreachableError(str(error)) from error

    async def _call(self, method: str, path: str, **options: Any) -> Answer:
        try:
            response = await self._client.request(method, BASE + path, **options)
        except httpx.TransportError as error:
            raise UnreachableError(str(error)) from error
        retry_after = response.headers.get("retry-after", "")
        seconds = float(retry_after) if retry_after.isdigit() else 0.0
        return Answer(response.status_code, response.content, seconds, _date(response))


def _date(response: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["date"])
    except (KeyError, ValueError):
        return None


async def parse(lines: AsyncIterator[str]) -> AsyncIterator[FeedEvent]:
    """Reads server-sent events. An id without data moves the cursor, and `retry` gives an event of that name."""
    fields: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        elif not line:
            if "retry" in fields:
                yield FeedEvent("retry", int(fields["retry"]), "")
            if fields.keys() & {"data", "id"}:
                data = json.loads(fields.get("data", "null"))
                yield FeedEvent(fields.get("event", "heartbeat"), data, fields.get("id", ""))
            fields.clear()
