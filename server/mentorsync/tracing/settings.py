"""Whether this process makes traces: OpenTelemetry's own environment variables decide, as its operators expect."""

from collections.abc import Mapping
from importlib.util import find_spec

from mentorsync.config import SettingsError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTER = "OTEL_TRACES_EXPORTER"
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter")  # what the extra adds to the API, which pyvoy needs too


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether an endpoint for traces is set, and tracing is not switched off.

    Raises SettingsError if tracing is wanted in a way that is not possible here.
    """
    endpoint = _first(environment, ENDPOINTS)
    exporter = environment.get(EXPORTER) or "otlp"
    if not endpoint or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    if exporter != "otlp":
        raise SettingsError(f"{EXPORTER} must be otlp or none, not {exporter!r}")
    if (protocol := _first(environment, PROTOCOLS) or "grpc") != "grpc":
        raise SettingsError(
            f"{PROTOCOLS[1]} must be grpc, not {protocol!r}: traces are sent by OTLP over gRPC, usually to port 4317"
        )
    if not all(map(_is_installed, PACKAGES)):
        raise SettingsError(
            f"{ENDPOINTS[1]} is set, but tracing is not installed: install mentor-status-sync with the extra "
            "`tracing`, or set OTEL_SDK_DISABLED=true"
        )
    return True


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package that contains it is missing
        return False


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The value of the first variable that has one, or an empty text."""
    return next((value for name in names if (value := environment.get(name))), "")
