"""OpenTelemetry's variables decide whether there are traces."""

import sys
from collections.abc import Mapping

import pytest
from mentorsync.config import SettingsError
from mentorsync.tracing import settings
from mentorsync.tracing.settings import is_wanted

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}


@pytest.mark.parametrize(
    "environment",
    [
        ENDPOINT,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"},
        ENDPOINT
        | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "false"},
        ENDPOINT | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    ],
)
def test_an_endpoint_switches_tracing_on(environment: Mapping[str, str]) -> None:
    """Of traces, or of all signals. What is said of traces alone goes before what is said of all signals."""
    assert is_wanted(environment)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SERVICE_NAME": "status"},
        ENDPOINT | {"OTEL_SDK_DISABLED": "True", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_tracing_is_off(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    """Without an endpoint, or switched off by one of the standard variables. Then the extra is not needed."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert not is_wanted(environment)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "OTEL_EXPORTER_OTLP_PROTOCOL must be grpc"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER must be otlp or none, not 'zipkin'"),
    ],
)
def test_traces_that_cannot_be_sent_are_refused(variables: dict[str, str], message: str) -> None:
    """An operator must not wait for traces that never come."""
    with pytest.raises(SettingsError, match=message):
        is_wanted(ENDPOINT | variables)


@pytest.mark.parametrize("package", ["opentelemetry", *settings.PACKAGES])
def test_tracing_without_its_packages_is_refused(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """The message names the extra to install. A server without a gateway lacks even OpenTelemetry's API."""

    def find_installed(name: str) -> object | None:
        if package == "opentelemetry":
            raise ModuleNotFoundError
        return None if name == package else object()

    monkeypatch.setattr(settings, "find_spec", find_installed)
    with pytest.raises(SettingsError, match="install mentor-status-sync with the extra `tracing`"):
        is_wanted(ENDPOINT)
