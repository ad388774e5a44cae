"""The locks: what one installation requires of its callers. Each is off unless a setting turns it on.

Envoy does all of it. The modules of this package patch its parsed configuration, on every listener for callers.
"""

from pathlib import Path

from mentorsync_gateway.config import Config, public_listeners
from mentorsync_gateway.locks import cors, jwt, rate_limit, tls
from mentorsync_gateway.locks.values import Locks


def apply(config: Config, locks: Locks, directory: Path) -> None:
    """Patches a configuration of `separate` or `embedded`.

    `directory` must exist for as long as Envoy runs. It gets small files that name the files to watch, and no secrets.
    Raises GatewayError when a URL of keys cannot be used on this machine.
    """
    for listener in public_listeners(config):
        tls.apply_to_listener(listener, locks, directory)
        # Each of these inserts its filter in front of the others. The last one is asked first.
        if locks.jwt:
            jwt.apply_to_listener(listener, locks.jwt)
        if locks.rate_limit:
            rate_limit.apply_to_listener(listener, locks.rate_limit)
        rate_limit.trust_proxies(listener, locks.trusted_proxies)
    if locks.cors_origins:
        cors.apply(config, locks.cors_origins)
    if locks.jwt:
        jwt.add_source_of_keys(config, locks.jwt, directory)
    if locks.upstream:
        tls.apply_to_upstream(config, locks.upstream, directory)
