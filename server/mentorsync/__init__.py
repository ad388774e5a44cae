"""Keeps phones and internal services in agreement on each mentor's status."""

__version__ = "1.0.0"
