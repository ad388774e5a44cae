"""The application that Envoy hosts in its own process: REST arrives here from the transcoder, gRPC at its own address.

Settings come from the environment: there is no command line in there.
"""

import logging
import sys
from argparse import Namespace
from contextlib import AsyncExitStack

from mentorsync import logs, runtime
from mentorsync.config import DATABASE_URL, GRPC_ADDRESS, LOG_LEVEL, METRICS_ADDRESS, SettingsError, resolve
from mentorsync.rpc.asgi import Scope, Send, answer
from mentorsync.rpc.frames import Receive
from mentorsync.rpc.service import Service
from mentorsync.storage.errors import StorageError

SETTINGS = (DATABASE_URL, GRPC_ADDRESS, METRICS_ADDRESS, LOG_LEVEL)

logger = logging.getLogger(__name__)


class Application:
    """ASGI, with lifespan: the service is opened at start-up and closed at shutdown."""

    _service: Service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await answer(self._service, scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with AsyncExitStack() as stack:
                await self._start(stack)
                await send({"type": "lifespan.startup.complete"})
                await receive()
                logger.info("stopping: finishing accepted calls")
        except (SettingsError, StorageError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self, stack: AsyncExitStack) -> None:
        settings = resolve(Namespace(), SETTINGS)
        runtime.prepare()
        runtime.leave_out_psycopg_on_sqlite(settings.database_url)
        from mentorsync.app import running  # noqa: PLC0415 - imports grpc and Peewee

        # The supervisor joins standard output to its own standard error, and would have to copy the other.
        call_log = logs.set_up(settings.log_level, sys.stdout)
        stack.callback(call_log.close)
        server = await stack.enter_async_context(running(settings, call_log))
        self._service = server.service


app = Application()
