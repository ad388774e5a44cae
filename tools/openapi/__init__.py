"""Makes openapi.yaml from the protobuf contract. `make generate` runs it."""
