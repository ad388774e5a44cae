"""Certificates that have expired or expire soon are reported, with the file and the date, and without repetition."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mentorsync.supervisor.expiry import Expiry

from tests.edge.certificates import Authority
from tests.edge.conftest import LAYOUTS, running_up
from tests.gateway_process import running_gateway
from tests.server_process import wait_until
from tests.up_process import PREFIX

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ADVICE = "rename a new file to its name; no restart is needed"
DAY = timedelta(days=1)


def unix_time(moment: datetime) -> int:
    return int(moment.timestamp())


def test_each_certificate_is_reported_once_at_each_stage() -> None:
    """14 days before it expires, when it expires, and when a new one is used."""
    expiry = Expiry({"listener": "SETTING tls.crt"})

    def news(end: datetime, now: datetime) -> list[str]:
        first = list(expiry.news({"listener": unix_time(end), "unknown": 0}, unix_time(now)))
        assert not list(expiry.news({"listener": unix_time(end)}, unix_time(now)))
        return first

    first_end, second_end = NOW + 15 * DAY, NOW + 90 * DAY
    assert news(first_end, NOW) == []
    ending = f"SETTING tls.crt expires on 2026-12-15 12:00 UTC: {ADVICE}"
    assert news(first_end, NOW + 2 * DAY) == [ending]
    assert news(first_end, NOW + 3 * DAY) == []
    expired = f"SETTING tls.crt is still used, but expired on 2026-12-15 12:00 UTC: {ADVICE}"
    assert news(first_end, first_end) == [expired]
    assert news(second_end, first_end) == ["SETTING tls.crt is used now, and expires on 2027-02-28 12:00 UTC"]
    assert news(second_end + DAY, first_end) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_up_reports_a_certificate_that_has_expired_before_the_start(layout: str, tmp_path: Path) -> None:
    """It is used all the same."""
    authority = Authority(tmp_path)
    pair = authority.issue("server", "127.0.0.1", lifetime=-DAY)
    with running_up(tmp_path, layout, **pair.settings, grpc_client_ca=str(authority.ca)) as up:
        wait_until(lambda: len(up.messages()) == 1, "the report")
        (message,) = up.messages()
    assert message.startswith(f"MENTORSYNC_TLS_CERTIFICATE {pair.certificate} is still used, but expired on")
    assert message.endswith(ADVICE)


def test_up_reports_certificates_that_are_replaced(tmp_path: Path) -> None:
    """By one that expires soon, by one that expires while it is used, and by one that lasts."""
    authority = Authority(tmp_path)
    pair = authority.issue("server", "127.0.0.1", lifetime=-DAY)
    with running_up(tmp_path, LAYOUTS[0], **pair.settings, grpc_client_ca=str(authority.ca)) as up:

        def wait_for(stage: str, reports: int) -> None:
            wait_until(lambda: len(up.messages()) >= reports and stage in up.messages()[-1], stage)

        wait_for("expired", 1)
        authority.issue("server", "127.0.0.1", lifetime=10 * DAY)
        wait_for("expires on", 2)
        authority.issue("server", "127.0.0.1", lifetime=timedelta(seconds=1))
        wait_for("expired", 3)
        authority.issue("server", "127.0.0.1")
        wait_for("is used now", 4)
        messages = up.messages()
    assert all(message.startswith(f"MENTORSYNC_TLS_CERTIFICATE {pair.certificate} ") for message in messages)
    assert len([message for message in messages if "is still used, but expired" in message]) == 2
    assert all(ADVICE in message for message in messages[:-1])


def test_a_gateway_reports_the_certificates_towards_its_servers(tmp_path: Path) -> None:
    """Its own one and the authority's, which have other settings than those towards callers."""
    authority = Authority(tmp_path, lifetime=DAY)
    pair = authority.issue("gateway", lifetime=-DAY)
    settings = {
        "upstream_ca": str(authority.ca),
        "upstream_certificate": str(pair.certificate),
        "upstream_key": str(pair.key),
    }
    log = tmp_path / "gateway.log"
    expired = f"{PREFIX}MENTORSYNC_UPSTREAM_CERTIFICATE {pair.certificate} is still used, but expired on"
    ending = f"{PREFIX}MENTORSYNC_UPSTREAM_CA {authority.ca} expires on"
    with running_gateway("127.0.0.1:1", log, settings):
        wait_until(lambda: expired in log.read_text() and ending in log.read_text(), "the reports")
