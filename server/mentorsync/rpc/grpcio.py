"""The adapter to grpcio. Requests arrive undecoded, so that the service itself answers those that cannot be decoded."""

import time
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
from google.rpc import code_pb2, status_pb2

from mentorsync.rpc.context import CallContext, accepted_request_id, client_address
from mentorsync.rpc.errors import UNKNOWN_METHOD, status_metadata
from mentorsync.rpc.methods import Kind, Method
from mentorsync.rpc.principal import ISSUER_HEADER, MENTOR_ID_HEADER, SCOPE_HEADER, principal_of
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
    await _abort(context, reply, call_context.request_id)
    raise AssertionError("abort raises")


async def _abort(context: Any, status: status_pb2.Status, request_id: str) -> None:
    await context.abort(STATUS_CODES[status.code], status.message, status_metadata(status, request_id))


def _streaming_handler(service: Service, method: Method) -> "grpc.RpcMethodHandler[bytes, bytes]":
    return grpc.unary_stream_rpc_method_handler(partial(_answer_streaming, service, method))


async def _answer_streaming(service: Service, method: Method, payload: bytes, context: Any) -> None:
    call_context = _call_context(context, _host(context.peer()))
    status = await service.stream(method, payload, call_context, context.write)
    if status:
        await _abort(context, status, call_context.request_id)
    context.set_trailing_metadata((("x-request-id", call_context.request_id),))


HANDLERS = {Kind.UNARY: _unary_handler, Kind.SERVER_STREAMING: _streaming_handler}


class UnknownMethods(grpc.GenericRpcHandler):
    """Refuses every call, as the ASGI adapter refuses unknown methods. grpcio's own refusal has no request id."""

    def service(self, _handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, _requests: Any, context: Any) -> None:
        status = status_pb2.Status(code=code_pb2.UNIMPLEMENTED, message=UNKNOWN_METHOD)
        await _abort(context, status, _call_context(context).request_id)


def _call_context(context: Any, peer: str = "") -> CallContext:
    entries = context.invocation_metadata()  # once, since grpc decodes all entries again at each call
    metadata = dict(entries)
    idempotency_keys = [value for key, value in entries if key == "idempotency-key"]
    remaining = context.time_remaining()
    deadline = None if remaining is None else time.monotonic() + remaining
    return CallContext(
        accepted_request_id(metadata.get("x-request-id")),
        idempotency_keys,
        deadline,
        principal_of(*map(metadata.get, (ISSUER_HEADER, MENTOR_ID_HEADER, SCOPE_HEADER))),
        client_address(metadata.get("x-forwarded-for"), peer),
        last_event_id=metadata.get("last-event-id"),
        traceparent=metadata.get("traceparent"),
        tracestate=metadata.get("tracestate"),
    )


def _host(peer: str) -> str:
    """The address in ipv4:127.0.0.1:1234 or ipv6:%5B::1%5D:1234, as Envoy writes it."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")
