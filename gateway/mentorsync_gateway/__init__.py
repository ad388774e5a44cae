"""The REST gateway: Envoy's configuration, and what runs Envoy with it. Of the servers it knows only addresses."""
