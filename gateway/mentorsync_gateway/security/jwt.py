"""JWT: every call needs a token in the header `authorization: Bearer …`. The service gets the claims as headers.

Envoy re-reads keys that it fetches, but not keys from a file. So it fetches the file from itself: over a listener on a
Unix socket, whose answer is the file.
"""

import secrets
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from mentorsync_gateway.config import Config, insert_filter, manager_of
from mentorsync_gateway.errors import GatewayError
from mentorsync_gateway.security import tls
from mentorsync_gateway.security.values import Jwt

TYPES = "type.googleapis.com/envoy"
KEYS = "jwks"  # the name of the cluster and of the listener that answer with the keys
FILE_SECONDS = 1  # pause between two looks at a file of keys
URL_SECONDS = 300  # pause between two requests to a URL of keys: how long a withdrawn key may still be accepted
# Checked tokens that each thread remembers: to check one costs as much CPU as a third of a snapshot. A remembered
# token is accepted until it ends, also if its key is withdrawn meanwhile.
CACHED_TOKENS = 1_000
RETRIES = 5  # within about 1 s
MAX_KEYS_BYTES = 262_144  # about 500 keys
CLAIMS = {"x-mentorsync-issuer": "iss", "x-mentorsync-mentor-id": "mentor_id", "x-mentorsync-scope": "scope"}
# Load balancers probe the health, and have no token. Everything else needs one, also paths that do not exist.
WITHOUT_TOKEN = ({"path": "/healthz"}, {"prefix": "/grpc.health.v1.Health/"})
CHALLENGE = 'Bearer realm="mentorsync"'
HAS_TOKEN = {"header_filter": {"header": {"name": "authorization", "present_match": True}}}
IS_GRPC = {"header_filter": {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}}
MESSAGE = '%COALESCE({"operators":["LOCAL_REPLY_BODY","RESPONSE_CODE_DETAILS"]})%'


def is_url(jwks: str) -> bool:
    return "://" in jwks


def apply_to_listener(listener: Config, jwt: Jwt) -> None:
    insert_filter(listener, _filter(jwt))
    manager_of(listener)["local_reply_config"]["mappers"][:0] = _mappers()


def add_source_of_keys(config: Config, jwt: Jwt, directory: Path) -> None:
    """Adds the cluster that the keys come from, and for a file the listener that answers with it."""
    resources = config["static_resources"]
    if is_url(jwt.jwks):
        resources["clusters"].append(_remote_cluster(jwt.jwks))
        return
    address = {"pipe": {"path": str(directory / f"keys-{secrets.token_hex(4)}.sock")}}  # replicas share the folder
    resources["clusters"].append(_cluster([{"endpoint": {"address": address}}]))
    resources["listeners"].append(_file_listener(jwt.jwks, address))


def _filter(jwt: Jwt) -> Config:
    provider = {
        "issuer": jwt.issuer,
        "audiences": [jwt.audience],
        "require_expiration": True,
        "jwt_cache_config": {"jwt_cache_size": CACHED_TOKENS},
        # Named, because by default a token in the query is accepted too, and queries end up in logs.
        # Some callers write the scheme in lower case, and RFC 9110 (11.1) allows it.
        "from_headers": [{"name": "authorization", "value_prefix": f"{scheme} "} for scheme in ("Bearer", "bearer")],
        "claim_to_headers": [{"header_name": header, "claim_name": claim} for header, claim in CLAIMS.items()],
        "remote_jwks": {
            "http_uri": {"uri": jwt.jwks if is_url(jwt.jwks) else f"http://{KEYS}/", "cluster": KEYS, "timeout": "5s"},
            "cache_duration": f"{URL_SECONDS if is_url(jwt.jwks) else FILE_SECONDS}s",
            # Not for each request: the keys stay as they are while they cannot be fetched. Envoy's own listener answers
            # only once all listeners have started, so they must not wait for it, and the first attempt fails.
            "async_fetch": {"fast_listener": not is_url(jwt.jwks)},
            "retry_policy": {
                "num_retries": RETRIES,
                "retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"},
            },
        },
    }
    required = {"match": {"prefix": "/"}, "requires": {"provider_name": KEYS}}
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": f"{TYPES}.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {KEYS: provider},
            "rules": [*({"match": match} for match in WITHOUT_TOKEN), required],
        },
    }


def _mappers() -> list[Config]:
    """The answers to calls without a valid token. Envoy answers 403 to a wrong audience, and nothing else.

    They replace Envoy's `www-authenticate`, which repeats the request's URL.
    """
    invalid = f'{CHALLENGE}, error="invalid_token"'
    return [
        _mapper(403, [IS_GRPC], invalid, {"text_format_source": {"inline_string": MESSAGE}}),
        _mapper(401, [IS_GRPC], invalid, {"text_format_source": {"inline_string": MESSAGE}}),
        _mapper(403, [], invalid, _ERROR),
        _mapper(401, [HAS_TOKEN], invalid, _ERROR),
        _mapper(401, [], CHALLENGE, _ERROR),
    ]


_ERROR = {"json_format": {"code": 16, "message": MESSAGE, "details": []}}


def _mapper(status: int, conditions: list[Config], challenge: str, body: Config) -> Config:
    comparison = {"op": "EQ", "value": {"default_value": status, "runtime_key": "none"}}
    filters = [{"status_code_filter": {"comparison": comparison}}, *conditions]
    headers = {"www-authenticate": challenge, "x-request-id": "%REQ(X-REQUEST-ID)%"}
    return {
        "filter": {"and_filter": {"filters": filters}} if conditions else filters[0],
        "status_code": 401,
        "headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
        "body_format_override": body,
    }


def _remote_cluster(url: str) -> Config:
    parts = urlsplit(url)
    host = str(parts.hostname)
    address = {"socket_address": {"address": host, "port_value": parts.port or 443}}
    return _cluster([{"endpoint": {"address": address}}]) | {
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",  # the default prefers IPv6, also where it leads nowhere
        "transport_socket": tls.trusting(_system_ca(), host),
    }


def _cluster(endpoints: list[Config]) -> Config:
    assignment = {"cluster_name": KEYS, "endpoints": [{"lb_endpoints": endpoints}]}
    return {"name": KEYS, "connect_timeout": "5s", "load_assignment": assignment}


def _system_ca() -> str:
    """The file of the certificates that this machine trusts, as OpenSSL finds it. SSL_CERT_FILE may name another."""
    for path in (ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt"):
        if path and Path(path).exists():
            return path
    raise GatewayError(
        "MENTORSYNC_JWT_JWKS is a URL, but this machine has no file of trusted certificates: set SSL_CERT_FILE"
    )


def _file_listener(path: str, address: Config) -> Config:
    body = {"filename": path, "watched_directory": {"path": str(Path(path).parent)}}
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": body}}
    routes = {
        "virtual_hosts": [{"name": KEYS, "domains": ["*"], "routes": [route]}],
        "max_direct_response_body_size_bytes": MAX_KEYS_BYTES,
    }
    manager = {
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": KEYS,
        "route_config": routes,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPES}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": KEYS, "address": address, "filter_chains": [chain]}
