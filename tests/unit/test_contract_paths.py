"""Envoy's routes, which state the contract's paths once, and the paths that the proto gives the calls."""

import re
from typing import Any

from google.api import annotations_pb2
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync_gateway.config import Config, contract_routes, list_path, separate

from tests.contract import BASE

NOWHERE = ("127.0.0.1", 0)
VARIABLE = re.compile(r"\{[a-z_]+\}")
SEGMENT = "[^/]+"  # what Envoy's routes accept for a variable


def annotated() -> set[tuple[str, str]]:
    """Method and path of every call that has a google.api.http annotation. WatchSyncEvents is for gRPC alone."""
    (service,) = pb.DESCRIPTOR.services_by_name.values()
    rules = [method.GetOptions().Extensions[annotations_pb2.http] for method in service.methods]
    patterns = [(kind, rule) for rule in rules if (kind := rule.WhichOneof("pattern"))]
    return {(kind.upper(), VARIABLE.sub(SEGMENT, getattr(rule, kind))) for kind, rule in patterns}


def forwarded() -> set[tuple[str, str]]:
    """Method and path of every route that leads to the service."""
    config: Config = separate(NOWHERE, NOWHERE, [NOWHERE])
    matches: list[dict[str, Any]] = [route["match"] for route in contract_routes(config)]
    return {
        (method, match.get("path") or match["safe_regex"]["regex"]) for match in matches for method in methods(match)
    }


def methods(match: dict[str, Any]) -> list[str]:
    condition = next(header["string_match"] for header in match["headers"] if header["name"] == ":method")
    text: str = condition.get("exact") or condition["safe_regex"]["regex"]
    return text.split("|")


def test_envoy_forwards_exactly_the_paths_of_the_calls() -> None:
    """A call that the proto gains needs a route, and a route needs a call."""
    assert forwarded() == annotated()


def test_the_supervisor_asks_for_the_list() -> None:
    """It takes the path from Envoy's configuration."""
    assert list_path() == BASE
