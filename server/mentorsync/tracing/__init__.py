"""OpenTelemetry tracing: a span of each call and of each write transaction."""
