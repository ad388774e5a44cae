"""A listener for probes of the health: /healthz alone, in plain HTTP, also while callers hold all connections."""

import copy

from mentorsync_gateway.config import (
    HEALTH_LISTENER,
    LISTENER_SETTINGS,
    Address,
    Config,
    manager_of,
    public_listeners,
    socket_address,
)


def with_health(config: Config, address: Address) -> Config:
    """A configuration of `separate` or `embedded` with the listener. It has the REST listener's limits and errors."""
    config = copy.deepcopy(config)
    listener = copy.deepcopy(public_listeners(config)[0])
    listener["name"] = HEALTH_LISTENER
    listener["address"] = socket_address(LISTENER_SETTINGS[HEALTH_LISTENER], address)
    # Outside the limit of all connections. `ignore_global_conn_limit` would break that limit: Envoy 1.39.3 does not
    # count such connections when they begin, and still takes them off the count when they end.
    listener["bypass_overload_manager"] = True
    manager = manager_of(listener)
    manager["stat_prefix"] = HEALTH_LISTENER
    del manager["access_log"]
    health_check, *_, router = manager["http_filters"]
    manager["http_filters"] = [health_check, router]
    (host,) = manager["route_config"]["virtual_hosts"]
    host["routes"] = host["routes"][-2:]  # 405 for /healthz, and 404 for every other path
    config["static_resources"]["listeners"].append(listener)
    return config
