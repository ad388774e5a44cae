"""The embedded service, except that a call with the header x-trouble blocks, hangs or raises."""

import asyncio
import time

from mentorsync import embedded
from mentorsync.rpc.asgi import Scope, Send
from mentorsync.rpc.frames import Receive

BLOCKING_SECONDS = 2.0


class TroubledApplication:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trouble = dict(scope.get("headers", ())).get(b"x-trouble")
        if trouble == b"block":
            time.sleep(BLOCKING_SECONDS)  # noqa: ASYNC251 - it must block
        elif trouble == b"hang":
            await asyncio.Event().wait()
        elif trouble == b"raise":
            raise RuntimeError("secret")
        await embedded.app(scope, receive, send)


app = TroubledApplication()
