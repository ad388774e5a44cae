"""The security settings: what one installation requires of its callers. Each is off by default.

Envoy does all of it. The modules of this package patch its parsed configuration, on every listener for callers.
"""

from pathlib import Path

from mentorsync_gateway.config import Config, public_listeners
from mentorsync_gateway.security import cors, jwt, rate_limit, tls
from mentorsync_gateway.security.values import SecuritySettings


def apply(config: Config, security: SecuritySettings, directory: Path) -> None:
    """Patches a configuration of `separate` or `embedded`.

    `directory` must exist for as long as Envoy runs. It gets small files that name the files to watch, and no secrets.
    Raises GatewayError when a URL of keys cannot be used on this machine.
    """
    for listener in public_listeners(config):
        tls.apply_to_listener(listener, security, directory)
        # Each of these inserts its filter in front of the others. The last one is asked first.
        if security.jwt:
            jwt.apply_to_listener(listener, security.jwt)
        if security.rate_limit:
            rate_limit.apply_to_listener(listener, security.rate_limit)
        rate_limit.trust_proxies(listener, security.trusted_proxies)
    if security.cors_origins:
        cors.apply(config, security.cors_origins)
    if security.jwt:
        jwt.add_source_of_keys(config, security.jwt, directory)
    if security.upstream:
        tls.apply_to_upstream(config, security.upstream, directory)
