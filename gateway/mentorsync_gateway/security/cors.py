"""CORS: web pages of the given origins may call REST."""

import copy
import re
from collections.abc import Iterator, Sequence

from mentorsync_gateway.config import Config, insert_filter, list_path, manager_of, public_listeners

FILTER = "envoy.filters.http.cors"
TYPE = "type.googleapis.com/envoy.extensions.filters.http.cors.v3"
ANY_ORIGIN = "*"
METHODS = "GET, POST, PUT, DELETE"
REQUEST_HEADERS = "authorization, content-type, idempotency-key, last-event-id, traceparent, tracestate, x-request-id"
RESPONSE_HEADERS = "x-request-id, retry-after, www-authenticate, allow"
MAX_AGE_SECONDS = 600  # how long a browser need not ask again


def apply(config: Config, origins: Sequence[str]) -> None:
    """Answers preflights, and marks answers of every kind for pages of these origins. "*" means every origin."""
    listener = public_listeners(config)[0]
    insert_filter(listener, {"name": FILTER, "typed_config": {"@type": f"{TYPE}.Cors"}})
    (host,) = manager_of(listener)["route_config"]["virtual_hosts"]
    host.setdefault("typed_per_filter_config", {})[FILTER] = _policy(origins)
    host["routes"] = [_preflights(), *_with_marked_answers(host["routes"], origins)]


def _policy(origins: Sequence[str]) -> Config:
    return {
        "@type": f"{TYPE}.CorsPolicy",
        "allow_origin_string_match": [{"safe_regex": {"regex": _regex(origins)}}],
        "allow_methods": METHODS,
        "allow_headers": REQUEST_HEADERS,
        "expose_headers": RESPONSE_HEADERS,
        "max_age": str(MAX_AGE_SECONDS),
        "forward_not_matching_preflights": False,
    }


def _preflights() -> Config:
    """The first route. Envoy's filter does not answer preflights to the routes that answer 405 by themselves."""
    headers = [
        {"name": ":method", "string_match": {"exact": "OPTIONS"}},
        {"name": "origin", "present_match": True},
        {"name": "access-control-request-method", "present_match": True},
    ]
    return {"match": {"prefix": list_path(), "headers": headers}, "route": {"cluster": "mentorsync"}}


def _with_marked_answers(routes: Sequence[Config], origins: Sequence[str]) -> Iterator[Config]:
    """Each route, and in front of one that answers by itself a copy for allowed origins.

    Envoy's filter leaves such answers alone (https://github.com/envoyproxy/envoy/issues/8262).
    """
    for route in routes:
        if "direct_response" in route:
            yield _marked(copy.deepcopy(route), origins)
        yield route


def _marked(route: Config, origins: Sequence[str]) -> Config:
    origin = {"name": "origin", "string_match": {"safe_regex": {"regex": _regex(origins)}}}
    route["match"]["headers"] = [*route["match"].get("headers", []), origin]
    marks = {"access-control-allow-origin": "%REQ(ORIGIN)%", "access-control-expose-headers": RESPONSE_HEADERS}
    added = [{"header": {"key": key, "value": value}} for key, value in marks.items()]
    route["response_headers_to_add"] = [*route.get("response_headers_to_add", []), *added]
    return route


def _regex(origins: Sequence[str]) -> str:
    return ".+" if ANY_ORIGIN in origins else "|".join(map(re.escape, origins))
