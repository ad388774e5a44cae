"""An application for Envoy to host that does gRPC's framing and nothing else: what the embedded host itself costs."""

from mentorsync.rpc import asgi

from tests.benchmarks.peers.answers import ANSWERS

BODIES = {asgi.PATH_PREFIX + name: b"\0" + len(answer).to_bytes(4, "big") + answer for name, answer in ANSWERS.items()}


async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    await send(asgi.OK_START)
    await send({"type": "http.response.body", "body": BODIES[scope["path"]]})
    await send(asgi.OK_TRAILERS)


async def live(receive: asgi.Receive, send: asgi.Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
