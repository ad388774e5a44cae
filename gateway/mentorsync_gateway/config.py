"""Builds Envoy's configuration: envoy.yaml with the addresses of one installation."""

import copy
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from mentorsync_gateway.errors import GatewayError

Config = dict[str, Any]
Address = tuple[str, int]

CONFIG_PATH = Path(__file__).with_name("envoy.yaml")
GRPC_LISTENER_PATH = Path(__file__).with_name("grpc_listener.yaml")

TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
HEALTH_FILTER = "envoy.filters.http.health_check"
HEALTH_LISTENER = "health"

# The setting of each listener's address, for error messages. "grpc" balances over servers; "service_grpc" is the gRPC
# address of the service that runs inside Envoy.
ADMIN_SETTING = "MENTORSYNC_GATEWAY_ADMIN_ADDRESS"
LISTENER_SETTINGS = {
    "rest": "MENTORSYNC_REST_ADDRESS",
    "grpc": "MENTORSYNC_GATEWAY_GRPC_ADDRESS",
    "service_grpc": "MENTORSYNC_GRPC_ADDRESS",
    HEALTH_LISTENER: "MENTORSYNC_HEALTH_ADDRESS",
}


def separate(rest: Address, admin: Address, upstreams: Sequence[Address], grpc: Address | None = None) -> Config:
    """The configuration of a gateway in front of gRPC servers.

    Each address is (host, port). Port 0 of a listener means any free port. An upstream's host may be a name: it
    means all its addresses. With `grpc`, a second listener balances gRPC over the same servers.
    Raises GatewayError when a name cannot be resolved or the admin address is not loopback.
    """
    config: Config = yaml.safe_load(CONFIG_PATH.read_text("utf-8"))
    config["admin"]["address"] = admin_place(admin)
    listeners = config["static_resources"]["listeners"]
    listeners[0]["address"] = socket_address(LISTENER_SETTINGS["rest"], rest)
    if grpc is not None:
        listeners.append(grpc_listener("grpc", grpc))
    http_filter(config, TRANSCODER)["typed_config"]["proto_descriptor"] = str(descriptor_set_path())
    _set_upstreams(config, upstreams)
    return config


def descriptor_set_path() -> Path:
    return Path(str(files("mentorstatus.v1") / "descriptor_set.binpb"))


def connection_manager(config: Config) -> Config:
    """The HTTP connection manager of the REST listener."""
    return manager_of(config["static_resources"]["listeners"][0])


def public_listeners(config: Config) -> list[Config]:
    """The listeners for callers. Envoy may have others, for probes of its health and for its own use."""
    return [one for one in _listeners(config).values() if one["name"] != HEALTH_LISTENER]


def manager_of(listener: Config) -> Config:
    """The HTTP connection manager of a listener."""
    manager: Config = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def insert_filter(listener: Config, http_filter: Config) -> None:
    """Inserts a filter in front of all others but the health filter, which answers load balancers."""
    filters = manager_of(listener)["http_filters"]
    filters.insert(int(filters[0]["name"] == HEALTH_FILTER), http_filter)


def http_filter(config: Config, name: str) -> Config:
    entries: list[Config] = connection_manager(config)["http_filters"]
    return next(entry for entry in entries if entry["name"] == name)


def contract_routes(config: Config) -> list[Config]:
    """The routes of the contract's calls: those that are forwarded."""
    routes = connection_manager(config)["route_config"]["virtual_hosts"][0]["routes"]
    return [route for route in routes if "route" in route]


def list_path() -> str:
    """The path of the contract's list, which is the prefix of all its paths."""
    config: Config = yaml.safe_load(CONFIG_PATH.read_text("utf-8"))
    path: str = contract_routes(config)[0]["match"]["path"]
    return path


def without_access_log(config: Config) -> Config:
    """The configuration without a log line for each request."""
    quiet = copy.deepcopy(config)
    for listener in public_listeners(quiet):
        del manager_of(listener)["access_log"]
    return quiet


def shared(config: Config, ports: Mapping[str, int]) -> Config:
    """The configuration of one of several Envoys that share all their listeners' addresses, but not the admin address.

    `ports` has the port of each listener, by the name of the listener's setting.
    """
    config = copy.deepcopy(config)
    for setting, listener in _listeners(config).items():
        listener["enable_reuse_port"] = True
        listener["address"]["socket_address"]["port_value"] = ports[setting]
    return config


def listener_addresses(config: Config) -> dict[str, Address]:
    """The address of each listener, by the name of its setting. The admin address is not among them."""
    return {setting: _address_of(listener) for setting, listener in _listeners(config).items()}


def exclusive_addresses(config: Config) -> dict[str, Address]:
    """Each address that Envoy will listen on and does not share, by the name of its setting."""
    listeners = _listeners(config).items()
    exclusive = {setting: _address_of(one) for setting, one in listeners if not one["enable_reuse_port"]}
    return {ADMIN_SETTING: _address_of(config["admin"])} | exclusive


def _listeners(config: Config) -> dict[str, Config]:
    named = {one["name"]: one for one in config["static_resources"]["listeners"]}
    return {LISTENER_SETTINGS[name]: one for name, one in named.items() if name in LISTENER_SETTINGS}


def _address_of(place: Config) -> Address:
    """The address of a listener, or of the admin interface."""
    address = place["address"]["socket_address"]
    return address["address"], address["port_value"]


def grpc_listener(name: str, address: Address) -> Config:
    """The listener of grpc_listener.yaml, which forwards all calls to the servers. `name` is in LISTENER_SETTINGS."""
    listener: Config = yaml.safe_load(GRPC_LISTENER_PATH.read_text("utf-8"))
    return {"name": name, "address": socket_address(LISTENER_SETTINGS[name], address)} | listener


def _set_upstreams(config: Config, upstreams: Sequence[Address]) -> None:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}} for host, port in upstreams
    ]
    for cluster in config["static_resources"]["clusters"]:  # the one for calls, and the one for streams
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]


def socket_address(setting: str, address: Address) -> Config:
    """A listener's address with its name resolved: Envoy accepts only numeric addresses."""
    host, port = address
    try:
        resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise GatewayError(f"{setting} {host}:{port} cannot be resolved to an address of this machine") from error
    return {"socket_address": {"address": resolved[0][4][0], "port_value": port}}


def admin_place(admin: Address) -> Config:
    """The admin address as Envoy's configuration has it. Raises GatewayError unless it is loopback."""
    place = socket_address(ADMIN_SETTING, admin)
    host = place["socket_address"]["address"]
    if not ipaddress.ip_address(host).is_loopback:
        raise GatewayError(f"{ADMIN_SETTING} must be a loopback address, such as 127.0.0.1:9901, not {host}")
    return place
