"""The five calls, independent of the transport, and adapters to grpcio and ASGI."""
