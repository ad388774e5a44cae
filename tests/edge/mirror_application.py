"""For the embedded layout: an application that answers every call with an error, whose message is what it was told."""

from mentorsync.rpc.asgi import Scope, Send
from mentorsync.rpc.frames import Receive

from tests.edge.mirror import reflection

NOT_FOUND = b"5"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        for _ in ("startup", "shutdown"):
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
        return
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    status = [(b"grpc-status", NOT_FOUND), (b"grpc-message", reflection(headers).encode())]
    answer = [(b"content-type", b"application/grpc"), *status]
    await send({"type": "http.response.start", "status": 200, "headers": answer})
    await send({"type": "http.response.body", "body": b""})
