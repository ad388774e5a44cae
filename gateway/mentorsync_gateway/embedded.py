"""The embedded mode: the service answers inside Envoy's own process, through the dynamic module of pyvoy.

The configuration is that of the separate mode, with the module's filter in front of the router. The routes of the calls
enable the filter. Tried with pyvoy 1.3.0 on Envoy 1.39.3:

- A filter marked as terminal must be the last one, and then direct_response routes have no effect, since only the
  router handles them. Without the mark the filter may precede the router, and still answers the requests of its routes.
  So 404, 405 and /healthz come from the same routes as in the separate mode.
- Calls do not go to the routes' cluster, so the route's timeout and its grpc-timeout header have no effect. The cluster
  is still used for the health checks behind /healthz and for the gRPC listener.
- When Envoy loads the configuration, it runs the application's lifespan start-up, also in `--mode validate`.
"""

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from mentorsync_gateway.config import Address, Config, connection_manager, contract_routes, separate
from mentorsync_gateway.errors import HostModuleError

FILTER_NAME = "pyvoy"
FILTER_ON = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}


def embedded(
    application: str, rest: Address, admin: Address, upstreams: Sequence[Address], grpc: Address | None = None
) -> Config:
    """The configuration of a gateway that hosts `application` ("module:attribute" of an ASGI application that speaks
    gRPC's framing). `upstreams` is the gRPC server that the application itself starts; the rest as in `separate`.

    Raises HostModuleError where the module is not installed.
    """
    config = separate(rest, admin, upstreams, grpc)
    connection_manager(config)["http_filters"].insert(-1, _module_filter(application))
    for route in contract_routes(config):
        route["typed_per_filter_config"][FILTER_NAME] = FILTER_ON
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
