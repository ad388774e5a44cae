"""The whole document."""

from tools.openapi.contract import Contract, short
from tools.openapi.error_schemas import ERROR_SCHEMAS
from tools.openapi.errors import gateway_responses
from tools.openapi.operations import TAG, Operations
from tools.openapi.rules import REQUEST_ID, RESPONSE_HEADERS, Schema
from tools.openapi.schemas import Schemas

BEARER: Schema = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token of the issuer that the service is set to. Without that setting, no token is needed.",
}


def document(contract: Contract, version: str) -> Schema:
    """The OpenAPI document of the contract's only service."""
    (service,) = contract.services
    schemas = Schemas(contract)
    paths = Operations(contract, schemas).paths(service)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": short(service),
            "version": version,
            "description": contract.comment(service),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The address that serves this document."}],
        "security": [{}, {"bearer": []}],  # optional
        "tags": [{"name": TAG}],
        "paths": paths,
        "components": {
            "schemas": schemas.components | ERROR_SCHEMAS,
            "responses": gateway_responses(),
            "headers": RESPONSE_HEADERS,
            "parameters": {"x-request-id": {"name": "x-request-id", "in": "header"} | REQUEST_ID},
            "securitySchemes": {"bearer": BEARER},
        },
    }
