"""The other services of the server: health and reflection."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.grpc_client import CALL_SECONDS, SERVICE, failure

SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_a_server_that_works_is_serving(channel: grpc.aio.Channel, service: str) -> None:
    """The health of the whole server and of the service by its name."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=CALL_SECONDS)
    assert answer.status == SERVING


async def test_the_health_of_an_unknown_service_is_not_found(channel: grpc.aio.Channel) -> None:
    """The server reports the health of its own services only."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    failed = await failure(stub.Check(health_pb2.HealthCheckRequest(service="x"), timeout=CALL_SECONDS))
    assert failed.code is grpc.StatusCode.NOT_FOUND


async def test_reflection_describes_the_services(channel: grpc.aio.Channel) -> None:
    """A client needs no proto files."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]  # its types know no aio
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    services, files = [answer async for answer in stub.ServerReflectionInfo(iter(requests), timeout=CALL_SECONDS)]
    names = {service.name for service in services.list_services_response.service}
    assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert b"SubmitEvent" in files.file_descriptor_response.file_descriptor_proto[0]
