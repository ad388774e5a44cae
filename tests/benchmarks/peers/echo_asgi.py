"""An ASGI application that only does gRPC's framing. It shows the cost of hosting an application inside Envoy."""

from mentorsync.rpc import asgi
from mentorsync.rpc.frames import Receive, frame

from tests.benchmarks.peers.answers import ANSWERS

BODIES = {asgi.PATH_PREFIX + name: frame(answer) for name, answer in ANSWERS.items()}


async def app(scope: asgi.Scope, receive: Receive, send: asgi.Send) -> None:
    if scope["type"] == "lifespan":
        await handle_lifespan(receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    await send(asgi.OK_START)
    await send({"type": "http.response.body", "body": BODIES[scope["path"]]})
    await send({"type": "http.response.trailers", "headers": [asgi.OK_STATUS]})


async def handle_lifespan(receive: Receive, send: asgi.Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
