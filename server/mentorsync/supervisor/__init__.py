"""Runs the service: starts its parts (Envoy, servers), watches them, passes their logs on and stops them in order."""
