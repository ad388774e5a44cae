"""The REST gateway: Envoy's configuration. It knows only the addresses of the servers."""
