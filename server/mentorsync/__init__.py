"""Keeps phones and internal services in agreement on each mentor's status."""

__version__ = "0.1.0"
