"""Time limits that depend on each other are in the right order, in the code and in Envoy's configuration."""

from typing import Any

import yaml
from mentorsync import time_limits as limits
from mentorsync_gateway.config import CONFIG_PATH, connection_manager, contract_routes

CONFIG: dict[str, Any] = yaml.safe_load(CONFIG_PATH.read_text())
CLUSTER: dict[str, Any] = CONFIG["static_resources"]["clusters"][0]


def seconds(duration: str) -> float:
    """Of a protobuf duration, such as 0.25s, or a gRPC one in milliseconds, such as 9500m."""
    number, unit = float(duration[:-1]), duration[-1]
    return number / 1_000 if unit == "m" else number


def test_each_layer_gives_up_before_the_layer_that_waits_for_it() -> None:
    """The database, the service, the gateway: the innermost knows the cause best, and reports it first."""
    assert 2 * limits.IDLE_IN_TRANSACTION_SECONDS < limits.LOCK_SECONDS < limits.SILENCE_SECONDS
    assert limits.IDLE_IN_TRANSACTION_SECONDS < limits.TRANSACTION_SECONDS < limits.LOCK_SECONDS
    assert limits.BUSY_SECONDS < limits.ANSWER_SECONDS
    assert limits.READ_SECONDS < limits.SILENCE_SECONDS
    assert limits.SILENCE_SECONDS < limits.ANSWER_SECONDS
    assert limits.RETRY_SECONDS + limits.CONNECT_SECONDS < limits.ANSWER_SECONDS
    assert limits.PROBE_ANSWER_SECONDS < limits.SILENCE_SECONDS
    assert limits.ANSWER_SECONDS < limits.DEADLINE_SECONDS < limits.ROUTE_SECONDS < limits.STREAM_IDLE_SECONDS
    assert limits.STREAM_IDLE_SECONDS < limits.REQUEST_SECONDS
    assert limits.SILENCE_SECONDS < limits.TCP_USER_SECONDS


def test_a_stop_fits_into_the_time_that_docker_gives() -> None:
    """A call that is accepted last and takes longest is answered, and every part has ended, before SIGKILL."""
    assert limits.STOP_SECONDS < limits.KILL_SECONDS
    assert limits.CLOSE_SECONDS + limits.ANSWER_SECONDS + limits.END_SECONDS <= limits.STOP_SECONDS
    assert limits.HEALTH_CHECK_SECONDS < limits.RETIRE_SECONDS
    assert limits.ANSWER_SECONDS <= limits.DRAIN_SECONDS
    assert limits.RETIRE_SECONDS + limits.DRAIN_SECONDS <= limits.STOP_SECONDS
    assert limits.STOP_SECONDS + limits.FLUSH_SECONDS < limits.KILL_SECONDS
    assert limits.SPAN_FLUSH_SECONDS + limits.FLUSH_SECONDS < limits.END_SECONDS


def test_a_hung_replica_is_replaced_before_its_calls_are_given_up() -> None:
    """A caller of a frozen replica gets a broken connection, and can repeat, before its deadline."""
    slowest_ping = limits.PING_PAUSE_SECONDS + limits.PING_SECONDS
    assert limits.PING_PAUSE_SECONDS + limits.MAX_FAILED_PINGS * slowest_ping < limits.DEADLINE_SECONDS


def test_envoy_is_configured_with_these_limits() -> None:
    """Envoy's configuration states them a second time: it must run as it is."""
    routes = contract_routes(CONFIG)
    assert routes
    for route in (route for route in routes if "request_headers_to_add" in route):
        assert seconds(route["route"]["timeout"]) == limits.ROUTE_SECONDS
        assert seconds(route["route"]["idle_timeout"]) == limits.STREAM_IDLE_SECONDS
        (header,) = route["request_headers_to_add"]
        assert header["header"]["key"] == "grpc-timeout"
        assert seconds(header["header"]["value"]) == limits.DEADLINE_SECONDS
    manager = connection_manager(CONFIG)
    assert seconds(manager["request_timeout"]) == limits.REQUEST_SECONDS
    assert seconds(manager["stream_idle_timeout"]) > limits.STREAM_IDLE_SECONDS


def test_a_stream_outlives_every_limit_of_calls() -> None:
    """Envoy ends it only after three silent heartbeats. At a stop, all have been told before listeners close."""
    (stream,) = (route["route"] for route in contract_routes(CONFIG) if "request_headers_to_add" not in route)
    assert seconds(stream["timeout"]) == 0
    assert seconds(stream["idle_timeout"]) == limits.STREAM_SILENCE_SECONDS == 3 * limits.HEARTBEAT_SECONDS
    assert 2 * limits.STALLED_SECONDS < limits.HEARTBEAT_SECONDS
    assert limits.STREAM_SPREAD_SECONDS < limits.CLOSE_SECONDS


def test_a_gateway_sees_a_retiring_server_in_time() -> None:
    """The health check that fails first may come an interval late, and a second one must confirm it."""
    (check,) = CLUSTER["health_checks"]
    assert check["unhealthy_threshold"] == 2
    slowest = max(seconds(check[name]) for name in ("interval", "no_traffic_interval", "no_traffic_healthy_interval"))
    assert slowest + seconds(check["unhealthy_interval"]) == limits.HEALTH_CHECK_SECONDS


def test_a_frozen_server_is_given_up_before_its_calls_are() -> None:
    """Envoy's ping ends the connection to it, so that callers get an answer before the route's timeout."""
    options = CLUSTER["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
    ping = options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]
    assert seconds(ping["interval"]) + seconds(ping["timeout"]) < limits.DEADLINE_SECONDS
