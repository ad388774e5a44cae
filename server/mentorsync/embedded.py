"""The application that Envoy hosts in its own process. Calls arrive from the transcoder; grpcio has its own address.

Settings come from the environment: the process is Envoy, and its command line is not ours.
"""

import logging
import os
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from mentorsync import logs, runtime
from mentorsync.config import DATABASE_URL, GRPC_ADDRESS, LOG_LEVEL, METRICS_ADDRESS, SettingsError, resolve
from mentorsync.parts import PartEndedError
from mentorsync.rpc.asgi import Scope, Send, answer
from mentorsync.rpc.frames import Receive
from mentorsync.rpc.service import Service
from mentorsync.storage.errors import StorageError

SETTINGS = (DATABASE_URL, GRPC_ADDRESS, METRICS_ADDRESS, LOG_LEVEL)
EXIT_FAILED = 1  # as of `mentorsync serve`: what started Envoy should start it again

logger = logging.getLogger(__name__)


class Application:
    """An ASGI application. Its lifespan opens the service at start-up and closes it at shutdown."""

    _service: Service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await answer(self._service, scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with opened_service() as self._service:
                await send({"type": "lifespan.startup.complete"})
                await receive()
                logger.info("stopping: finishing accepted calls")
        except (SettingsError, StorageError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        except PartEndedError:
            os._exit(EXIT_FAILED)  # ends Envoy too, at once: it would go on without a service. The log is complete.
        await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def opened_service() -> AsyncIterator[Service]:
    """The service of this process, as the environment's settings want it. Cancels the body if a part of it dies.

    Envoy runs one lifespan for each place in its configuration that names the application, each on an event loop and
    thread of its own. Today there is one; a second one must wait here for the service of the first.
    """
    settings = resolve(Namespace(), SETTINGS)
    runtime.prepare()
    runtime.leave_out_psycopg_on_sqlite(settings.database_url)
    from mentorsync.app import running  # noqa: PLC0415 - imports grpc and Peewee

    async with AsyncExitStack() as stack:
        call_log = logs.set_up(settings.log_level, _log_descriptor())
        stack.callback(call_log.close)
        server = await stack.enter_async_context(running(settings, call_log))
        yield server.service


def _log_descriptor() -> int:
    """The pipe that the supervisor made for this log. Envoy's own pipes have Envoy's lines, which ours could tear."""
    return int(os.environ.get("MENTORSYNC_LOG_DESCRIPTOR", logs.STANDARD_ERROR))


app = Application()
