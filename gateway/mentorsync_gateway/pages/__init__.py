"""The pages that the gateway itself serves at the REST address: documentation to try the calls, and a console.

rapidoc-min.js is RapiDoc 11.0.1 (https://github.com/rapi-doc/RapiDoc, MIT licence: rapidoc.LICENSE.txt), unchanged from
the wheel of flask-openapi-rapidoc 11.0.1. RAPIDOC_SHA256 pins it. It is kept here so that neither the set-up nor a page
fetches it.
"""

import copy
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from mentorsync_gateway.config import Config, connection_manager

RAPIDOC_SHA256 = "cd1e847ba5a90a423fe56e2e4c82a76005a3c7e1361df1f131a95151562c6ab7"
HTML, SCRIPT, STYLE = "text/html; charset=utf-8", "text/javascript; charset=utf-8", "text/css; charset=utf-8"
YAML = "application/yaml"
COMPRESSOR = "envoy.filters.http.compressor"
JWT = "envoy.filters.http.jwt_authn"
JWT_TYPE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3"
ETAG_DIGITS = 32  # of a SHA-256 in hexadecimal
MAX_PAGE_BYTES = 2_097_152  # Envoy keeps each page in memory; the largest has 0.5 MB

# The pages load from this address alone, and no other page can frame them. RapiDoc sets the style of elements.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Page(NamedTuple):
    """A file and the path where the gateway serves it."""

    path: str
    file: Path
    content_type: str


FOLDER = Path(__file__).parent
CONSOLE = FOLDER / "console"
CONSOLE_MODULES = ("console", "calls", "feed", "measures", "rendering", "rows", "state")
PAGES = (
    Page("/docs", FOLDER / "docs.html", HTML),
    Page("/docs.css", FOLDER / "docs.css", STYLE),
    Page("/rapidoc.js", FOLDER / "rapidoc-min.js", SCRIPT),
    Page("/console", CONSOLE / "console.html", HTML),
    Page("/console/console.css", CONSOLE / "console.css", STYLE),
    *(Page(f"/console/{name}.js", CONSOLE / f"{name}.js", SCRIPT) for name in CONSOLE_MODULES),
    Page("/openapi.yaml", Path(str(files("mentorstatus.v1") / "openapi.yaml")), YAML),
)


def with_pages(config: Config) -> Config:
    """The configuration with a route for each page, and with compression for them alone."""
    config = copy.deepcopy(config)
    manager = connection_manager(config)
    manager["http_filters"].insert(-1, _compressor())
    routes = manager["route_config"]
    routes["max_direct_response_body_size_bytes"] = MAX_PAGE_BYTES
    in_front_of_the_last = slice(-1, -1)  # the last route answers 404 to all other paths
    routes["virtual_hosts"][0]["routes"][in_front_of_the_last] = [route for page in PAGES for route in _routes(page)]
    return config


def _routes(page: Page) -> list[Config]:
    """GET answers with the page, or 304 if the caller has it already. Other methods get 405."""
    etag = hashlib.sha256(page.file.read_bytes()).hexdigest()[:ETAG_DIGITS]
    is_get = {"name": ":method", "string_match": {"exact": "GET"}}
    has_page = {"name": "if-none-match", "string_match": {"contains": f'"{etag}"'}}
    headers = {
        "etag": f'W/"{etag}"',  # weak, since Envoy's compressor removes a strong one
        "cache-control": "no-cache",  # may be stored, and is asked for again each time
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    given = _headers(headers)
    public = {JWT: {"@type": f"{JWT_TYPE}.PerRouteConfig", "disabled": True}}  # pages need no token, but their calls do
    served = _headers(headers | {"content-type": page.content_type})
    return [
        {
            "match": {"path": page.path, "headers": [is_get, has_page]},
            "response_headers_to_add": given,
            "direct_response": {"status": 304},
            "typed_per_filter_config": public,
        },
        {
            "match": {"path": page.path, "headers": [is_get]},
            "response_headers_to_add": served,
            "direct_response": {"status": 200, "body": {"filename": str(page.file)}},
            "typed_per_filter_config": public | {COMPRESSOR: _switched_on()},
        },
        {
            "match": {"path": page.path},
            "response_headers_to_add": _headers({"allow": "GET"}),
            "direct_response": {"status": 405, "body": {"inline_string": "method not allowed on this path"}},
            "typed_per_filter_config": public,
        },
    ]


def _headers(values: dict[str, str]) -> list[Config]:
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in values.items()
    ]


def _switched_on() -> Config:
    return {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}


def _compressor() -> Config:
    return {
        "name": COMPRESSOR,
        "disabled": True,  # the routes of the pages enable it
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor",
            "response_direction_config": {
                "common_config": {"content_type": [page.content_type.partition(";")[0] for page in PAGES]}
            },
            "compressor_library": {
                "name": "gzip",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"},
            },
        },
    }
