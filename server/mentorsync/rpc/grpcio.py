"""The adapter to grpcio: requests arrive undecoded, so that the service answers for what cannot be decoded, too."""

from functools import partial
from typing import Any

import grpc

from mentorsync.rpc.calls import CallContext
from mentorsync.rpc.errors import status_metadata
from mentorsync.rpc.service import SERVICE_NAME, Service, accepted_request_id

STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def handler(service: Service) -> grpc.GenericRpcHandler:
    """The service's methods for a grpc.aio server."""
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        name: grpc.unary_unary_rpc_method_handler(partial(_handle, service, name)) for name in service.methods
    }
    return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)


async def _handle(service: Service, name: str, payload: bytes, context: Any) -> bytes:
    call_context = _call_context(context)
    reply = await service.invoke(name, payload, call_context)
    if isinstance(reply, bytes):
        context.set_trailing_metadata((("x-request-id", call_context.request_id),))
        return reply
    await context.abort(STATUS_CODES[reply.code], reply.message, status_metadata(reply, call_context.request_id))
    raise AssertionError("abort raises")


def _call_context(context: Any) -> CallContext:
    request_id = None
    idempotency_keys = []
    for key, value in context.invocation_metadata():
        if key == "x-request-id":
            request_id = value
        elif key == "idempotency-key":
            idempotency_keys.append(value)
    return CallContext(accepted_request_id(request_id), idempotency_keys)
