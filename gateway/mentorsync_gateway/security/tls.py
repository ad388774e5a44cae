"""TLS: to callers, from callers (mutual TLS on gRPC), and to the servers of the separate layout.

Envoy takes new files without a restart if it gets their names from a file of its own (SDS), and if they are renamed
into their folder. It keeps what it had when new files do not fit together.
"""

import ipaddress
import json
from pathlib import Path
from typing import Any

from mentorsync_gateway.config import Config
from mentorsync_gateway.security.values import Certificate, SecuritySettings, Upstream

TRANSPORT_SOCKETS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name
PROTOCOLS = {"AUTO": ["h2", "http/1.1"], "HTTP2": ["h2"]}  # what a listener offers, by the codec of its connections


def apply_to_listener(listener: Config, security: SecuritySettings, directory: Path) -> None:
    """Makes a listener speak TLS. The gRPC listeners also ask callers for a certificate, if a CA is set."""
    if not security.certificate:
        return
    (chain,) = listener["filter_chains"]
    codec = chain["filters"][0]["typed_config"]["codec_type"]
    context = {"alpn_protocols": PROTOCOLS[codec], **_certificate(security.certificate, "listener", directory)}
    is_mutual = bool(security.grpc_client_ca) and listener["name"] != "rest"
    if is_mutual:
        context["validation_context_sds_secret_config"] = _ca(security.grpc_client_ca, "client_ca", directory)
    chain["transport_socket"] = _transport_socket(
        "DownstreamTlsContext", {"common_tls_context": context, "require_client_certificate": is_mutual}
    )


def apply_to_upstream(config: Config, upstream: Upstream, directory: Path) -> None:
    """Makes the gateway speak TLS to its servers, and verify that a server's certificate has one of their names."""
    calls, streams = config["static_resources"]["clusters"][:2]  # both lead to the servers
    (locality,) = calls["load_assignment"]["endpoints"]
    addresses = (endpoint["endpoint"]["address"]["socket_address"] for endpoint in locality["lb_endpoints"])
    names = dict.fromkeys(address["address"] for address in addresses)
    context = {
        "alpn_protocols": ["h2"],  # grpc servers require it
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [_name_matcher(name) for name in names]},
            "validation_context_sds_secret_config": _ca(upstream.ca, "server_ca", directory),
        },
        **(_certificate(upstream.certificate, "upstream", directory) if upstream.certificate else {}),
    }
    calls["transport_socket"] = streams["transport_socket"] = _transport_socket(
        "UpstreamTlsContext", {"common_tls_context": context, "auto_host_sni": True}
    )


def trusting(ca: str, host: str) -> Config:
    """The transport socket to a host whose certificate must have its name and be signed by a CA of this file."""
    validation = {"trusted_ca": {"filename": ca}, "match_typed_subject_alt_names": [_name_matcher(host)]}
    return _transport_socket(
        "UpstreamTlsContext", {"common_tls_context": {"validation_context": validation}, "sni": host}
    )


def is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _transport_socket(kind: str, context: dict[str, Any]) -> Config:
    typed_config = {"@type": f"{TRANSPORT_SOCKETS}.{kind}", **context}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed_config}


def _name_matcher(host: str) -> Config:
    kind = "IP_ADDRESS" if is_ip_address(host) else "DNS"
    return {"san_type": kind, "matcher": {"exact": host}}


def _certificate(certificate: Certificate, name: str, directory: Path) -> Config:
    value = {
        "certificate_chain": {"filename": certificate.chain},
        "private_key": {"filename": certificate.key},
        "watched_directory": _folder_of(certificate.chain),
    }
    return {"tls_certificate_sds_secret_configs": [_sds(name, {"tls_certificate": value}, directory)]}


def _ca(path: str, name: str, directory: Path) -> Config:
    value = {"trusted_ca": {"filename": path}, "watched_directory": _folder_of(path)}
    return _sds(name, {"validation_context": value}, directory)


def _sds(name: str, secret: Config, directory: Path) -> Config:
    """Writes the file that names a secret's files, and refers to it. Configurations with the same settings share it."""
    path = directory / f"{name}.json"
    if not path.exists():
        path.write_text(json.dumps({"resources": [{"@type": SECRET, "name": name, **secret}]}), "utf-8")
    source = {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _folder_of(path: str) -> Config:
    return {"path": str(Path(path).parent)}
