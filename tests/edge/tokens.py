"""Tokens for tests, made by an issuer of the test."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.edge.certificates import put

ISSUER = "https://issuer.example"
AUDIENCE = "mentorsync"
HOUR = 3_600
RSA_BITS = 2_048


class Issuer:
    """Signs tokens with a key of its own, by RS256, as most issuers do. `publish` writes its public key to a file."""

    def __init__(self, name: str = "first") -> None:
        self._name = name
        self._key = rsa.generate_private_key(65_537, RSA_BITS)

    def publish(self, path: Path) -> None:
        put(path, self.key_set())

    def key_set(self) -> bytes:
        public = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return json.dumps({"keys": [public | {"kid": self._name, "use": "sig", "alg": "RS256"}]}).encode()

    def token(self, **claims: Any) -> str:
        """A valid token for one mentor. `claims` are added or replaced; None removes one."""
        return jwt.encode(self._claims(claims), self._key, "RS256", {"kid": self._name})

    def administrator(self) -> str:
        """A valid token that reaches every mentor."""
        return self.token(mentor_id=None, scope="mentorsync.admin")

    def unsigned(self) -> str:
        return jwt.encode(self._claims({}), "", "none")

    def _claims(self, changes: dict[str, Any]) -> dict[str, Any]:
        now = int(time.time())
        usual = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + HOUR, "mentor_id": "mntr_1"}
        return {name: value for name, value in (usual | changes).items() if value is not None}


def jwt_settings(jwks: Path | str) -> dict[str, str]:
    """Those of a service that requires tokens of an `Issuer`. jwks: a file, or a URL."""
    return {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks": str(jwks)}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
