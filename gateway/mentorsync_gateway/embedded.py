"""The embedded mode: the service answers inside Envoy's own process, through the dynamic module of pyvoy.

The configuration is that of the separate mode, with the module's filter in front of the router, and with a second
listener for gRPC callers. The routes of the calls enable the filter. Health and reflection are answered by a gRPC
server of the service on a Unix socket, to which the gRPC listener forwards them.

Tried with pyvoy 1.3.0 on Envoy 1.39.3:

- A filter marked as terminal must be the last one, and then direct_response routes have no effect, since only the
  router handles them. Without the mark the filter may precede the router, and still answers the requests of its routes.
  So 404, 405 and /healthz come from the same routes as in the separate mode.
- Calls do not go to the routes' cluster, so the route's timeout and its grpc-timeout header have no effect. The cluster
  is still used for the health checks behind /healthz.
- When Envoy loads the configuration, it runs the application's lifespan start-up, also in `--mode validate`: once for
  each listener, each on an event loop and thread of its own, in one interpreter. It ends them one after the other.
"""

import copy
import json
import os
import sys
from importlib.util import find_spec

from mentorsync_gateway.config import (
    HEALTH_FILTER,
    TRANSCODER,
    Address,
    Config,
    connection_manager,
    contract_routes,
    grpc_listener,
    http_filter,
    manager_of,
    separate,
)
from mentorsync_gateway.errors import HostModuleError

FILTER_NAME = "pyvoy"
CLUSTER = "mentorsync"
FORWARDING_CLUSTER = "health_and_reflection"
# Health checks over gRPC get UNAVAILABLE while Envoy drains, as those over REST get 503. Else the service answers them.
DRAINING_HEALTH = {
    "name": HEALTH_FILTER,
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck",
        "pass_through_mode": True,
        "headers": [{"name": ":path", "string_match": {"prefix": "/grpc.health.v1.Health/"}}],
    },
}
FILTER_ON = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}


def embedded(application: str, rest: Address, admin: Address, grpc: Address, socket: str) -> Config:
    """The configuration of a gateway that hosts `application` ("module:attribute" of an ASGI application that speaks
    gRPC's framing). It serves REST at `rest` and gRPC at `grpc`.

    `socket` is the path of the Unix socket where the application serves gRPC's health and reflection.
    Raises HostModuleError where the module is not installed, and GatewayError as `separate` does.
    """
    config = separate(rest, admin, [])
    _use_socket(config, socket)
    connection_manager(config)["http_filters"].insert(-1, _module_filter(application))
    for route in contract_routes(config):
        route["typed_per_filter_config"][FILTER_NAME] = FILTER_ON
        route["route"]["cluster"] = CLUSTER
    config["static_resources"]["listeners"].append(_service_listener(config, application, grpc))
    return config


def embedded_environment() -> dict[str, str]:
    """The environment variables with which Envoy can host Python: this interpreter's home, path and library.

    Raises HostModuleError when the interpreter has no shared library.
    """
    import find_libpython  # noqa: PLC0415 - a dependency of pyvoy, which not every platform has

    library = find_libpython.find_libpython()
    if library is None:
        raise HostModuleError(f"Envoy cannot host Python here: {sys.executable} has no shared libpython")
    return {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONHOME": f"{sys.prefix}{os.pathsep}{sys.exec_prefix}",
        "LD_PRELOAD": library,  # the module does not link to the library
    }


def _use_socket(config: Config, path: str) -> None:
    """Makes the Unix socket the only upstream. Health checks and forwarded calls have a cluster each, so that the
    supervisor can tell forwarded calls from calls of the service.
    """
    cluster, streams = config["static_resources"]["clusters"]
    config["static_resources"]["clusters"].remove(streams)  # all streams are answered here
    del cluster["cluster_type"]  # it resolves names; the default is a static address
    endpoint = {"endpoint": {"address": {"pipe": {"path": path}}}}
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [endpoint]}]
    forwarding = copy.deepcopy(cluster) | {"name": FORWARDING_CLUSTER}
    forwarding["load_assignment"]["cluster_name"] = FORWARDING_CLUSTER
    for check in ("health_checks", "outlier_detection"):  # an unhealthy service must still report NOT_SERVING
        del forwarding[check]
    config["static_resources"]["clusters"].append(forwarding)


def _service_listener(config: Config, application: str, address: Address) -> Config:
    """The listener for gRPC: the module answers the calls of the service, and the Unix socket gets all others.

    The gRPC server behind the socket answers UNIMPLEMENTED for paths that it does not know.
    """
    listener = grpc_listener("service_grpc", address)
    manager = manager_of(listener)
    manager["http_filters"][:0] = [DRAINING_HEALTH, _module_filter(application)]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    streams, forwarding = routes
    forwarding["route"]["cluster"] = FORWARDING_CLUSTER
    streams["route"]["cluster"] = CLUSTER
    (service,) = http_filter(config, TRANSCODER)["typed_config"]["services"]
    calls = copy.deepcopy(forwarding)
    calls["match"]["prefix"] = f"/{service}/"
    # It also ends a call whose message never comes. In the separate mode, the health's endless watch forbids it.
    calls["route"]["idle_timeout"] = contract_routes(config)[0]["route"]["idle_timeout"]
    for route in (streams, calls):
        # The module would decode an escape and drop a query. gRPC has neither, so such a path names no method.
        route["match"]["headers"] = [_path_without(character) for character in "%?"]
        route["typed_per_filter_config"] = {FILTER_NAME: FILTER_ON}
    routes.insert(1, calls)
    return listener


def _path_without(character: str) -> Config:
    return {"name": ":path", "string_match": {"contains": character}, "invert_match": True}


def _module_filter(application: str) -> Config:
    module_settings = {"app": application, "interface": "asgi", "lifespan": True, "loop": "uvloop"}
    return {
        "name": FILTER_NAME,
        "disabled": True,  # the routes of the calls enable it
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"module": {"local": {"filename": _module_path()}}},
            "filter_name": FILTER_NAME,
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": json.dumps(module_settings),
            },
        },
    }


def _module_path() -> str:
    """The path of the module's library. Importing pyvoy to find it would load a second HTTP stack."""
    package = find_spec("pyvoy")
    spec = find_spec("pyvoy._pyvoy") if package else None
    if spec is None or spec.origin is None:
        raise HostModuleError("Envoy cannot host Python here: pyvoy is not installed")
    return spec.origin
