"""Reports certificates that expire soon or have expired, and the use of new ones. Envoy itself logs nothing of it."""

import asyncio
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import Enum

from mentorsync.config import GRPC_CLIENT_CA, TLS_CERTIFICATE, UPSTREAM_CA, UPSTREAM_CERTIFICATE
from mentorsync.supervisor.admin import ADMIN_FAILURES
from mentorsync.supervisor.envoy import Envoy

POLL_SECONDS = 5.0
NOTICE = timedelta(days=14)
# By the name that Envoy's configuration gives the certificate (mentorsync_gateway.security.tls).
SETTINGS = {
    "listener": TLS_CERTIFICATE,
    "client_ca": GRPC_CLIENT_CA,
    "upstream": UPSTREAM_CERTIFICATE,
    "server_ca": UPSTREAM_CA,
}


class Stage(Enum):
    VALID = "is used now, and expires on"
    ENDING = "expires on"
    EXPIRED = "is still used, but expired on"


class Expiry:
    """Knows what has been reported. `files` are the certificates' files, with their settings, by Envoy's name."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._reported = dict.fromkeys(files, (0, Stage.VALID))

    def news(self, ends: Mapping[str, int], now: float) -> Iterator[str]:
        """What has changed since the last call. `ends` are the Unix times at which the certificates end, by name."""
        for name, end in ends.items():
            if name not in self._files:
                continue
            stage, before = _stage(end, now), self._reported[name]
            self._reported[name] = (end, stage)
            stays_valid = stage is before[1] is Stage.VALID
            if (end, stage) != before and not stays_valid:
                yield f"{self._files[name]} {stage.value} {_date(end)}{_advice(stage)}"


def _stage(end: int, now: float) -> Stage:
    if end <= now:
        return Stage.EXPIRED
    return Stage.ENDING if end - now < NOTICE.total_seconds() else Stage.VALID


def _date(end: int) -> str:
    return f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC"


def _advice(stage: Stage) -> str:
    return "" if stage is Stage.VALID else ": rename a new file to its name; no restart is needed"


async def report_expiry(envoy: Envoy, settings: Namespace, say: Callable[[str], None]) -> None:
    """Reports on the certificates of an Envoy: at once, and when one changes or expires."""
    paths = {name: getattr(settings, setting.name, "") for name, setting in SETTINGS.items()}
    files = {name: f"{SETTINGS[name].variable} {path}" for name, path in paths.items() if path}
    if not files:
        return
    expiry = Expiry(files)
    while True:
        with suppress(*ADMIN_FAILURES):  # the end of Envoy is reported elsewhere
            for message in expiry.news(await envoy.certificate_ends(), time.time()):
                say(message)
        await asyncio.sleep(POLL_SECONDS)
