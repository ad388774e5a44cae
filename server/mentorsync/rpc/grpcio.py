"""The adapter to grpcio. Requests arrive undecoded, so that the service itself answers those that cannot be decoded."""

import time
from functools import partial
from typing import Any

import grpc

from mentorsync.rpc.context import CallContext, accepted_request_id
from mentorsync.rpc.errors import status_metadata
from mentorsync.rpc.methods import Kind, Method
from mentorsync.rpc.service import SERVICE_NAME, Service

STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def handler(service: Service) -> grpc.GenericRpcHandler:
    """The service's methods for a grpc.aio server, which refuses unknown ones and ends calls at their deadlines."""
    methods = {name: HANDLERS[method.kind](service, method) for name, method in service.methods.items()}
    return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)


def _unary_handler(service: Service, method: Method) -> "grpc.RpcMethodHandler[bytes, bytes]":
    return grpc.unary_unary_rpc_method_handler(partial(_answer_unary, service, method))


async def _answer_unary(service: Service, method: Method, payload: bytes, context: Any) -> bytes:
    call_context = _call_context(context)
    reply = await service.invoke(method, payload, call_context)
    if isinstance(reply, bytes):
        context.set_trailing_metadata((("x-request-id", call_context.request_id),))
        return reply
    await context.abort(STATUS_CODES[reply.code], reply.message, status_metadata(reply, call_context.request_id))
    raise AssertionError("abort raises")


HANDLERS = {Kind.UNARY: _unary_handler}


def _call_context(context: Any) -> CallContext:
    request_id = None
    idempotency_keys = []
    for key, value in context.invocation_metadata():
        if key == "x-request-id":
            request_id = value
        elif key == "idempotency-key":
            idempotency_keys.append(value)
    remaining = context.time_remaining()
    deadline = None if remaining is None else time.monotonic() + remaining
    return CallContext(accepted_request_id(request_id), idempotency_keys, deadline)
