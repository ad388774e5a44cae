"""Refuses to start where the system's limits are too low: grpc and Envoy would crash or hang later, without a cause."""

import resource

from mentorsync.config import SettingsError

MIN_OPEN_FILES = 256  # Envoy and a server need about 60 before the first caller connects
# In bytes. Each is a little more than the least with which a start succeeded.
MIN_SERVER_ADDRESS_SPACE = 1024**3
MIN_ENVOY_ADDRESS_SPACE = 5 * 1024**3 // 2  # its allocator reserves large ranges


def check_limits(address_space: int) -> None:
    """Raises SettingsError when this process and its children may open too few files or use too few addresses."""
    files = _maximum(resource.RLIMIT_NOFILE)
    if files < MIN_OPEN_FILES:
        raise SettingsError(
            f"the system allows {files:.0f} open files (ulimit -n); at least {MIN_OPEN_FILES} are needed"
        )
    allowed = _maximum(resource.RLIMIT_AS)
    if allowed < address_space:
        raise SettingsError(
            f"the system allows {allowed / 1024:.0f} KiB of address space (ulimit -v); "
            f"at least {address_space // 1024} KiB are needed"
        )


def _maximum(limit: int) -> float:
    """What a process may raise a limit to."""
    _, maximum = resource.getrlimit(limit)
    return float("inf") if maximum == resource.RLIM_INFINITY else maximum
