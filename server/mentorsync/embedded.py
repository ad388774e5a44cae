"""The application that Envoy hosts in its own process. Calls arrive from the REST listener and from the gRPC listener.

Settings come from the environment, because Envoy's command line cannot carry them.
"""

from collections.abc import Coroutine
from typing import Any

from mentorsync.config import SettingsError
from mentorsync.rpc.asgi import Scope, Send, answer
from mentorsync.rpc.frames import Receive
from mentorsync.service_thread import SharedService
from mentorsync.storage.errors import StorageError


class Application:
    """An ASGI application. The first lifespan that starts opens the service, and the last one that ends closes it.

    Envoy runs a lifespan for each of its listeners that names the application, and the listener's calls on the same
    event loop. It starts them one after the other, and ends each before the next.
    """

    # For hosts: this is an application of ASGI 3, although `__call__` is not a coroutine function.
    _asgi_single_callable = True

    def __init__(self) -> None:
        self._shared = SharedService()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        if scope["type"] == "lifespan":
            return self._live(receive, send)
        return answer(self._shared.service, scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            # Blocks the event loop, which has nothing else to do before the start and after the end.
            with self._shared.used():
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except (SettingsError, StorageError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})


app = Application()
