"""What tests take from the contract's text."""

BASE = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync"  # under which all paths are
