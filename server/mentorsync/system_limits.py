"""Refuses to start if the system's limits are too low.

Otherwise grpc and Envoy would crash or hang later, and would not report the cause.
"""

import resource

from mentorsync.config import SettingsError

MIN_OPEN_FILES = 256  # Envoy and a server need about 60 before the first caller connects
# In bytes. Each is slightly more than the smallest value with which a start succeeded.
MIN_SERVER_ADDRESS_SPACE = 1024**3
MIN_ENVOY_ADDRESS_SPACE = 5 * 1024**3 // 2  # its allocator reserves large ranges


def check_limits(address_space: int) -> None:
    """Raises SettingsError if this process and its children may open too few files or use too little address space."""
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
    """The value up to which a process may raise a limit."""
    _, maximum = resource.getrlimit(limit)
    return float("inf") if maximum == resource.RLIM_INFINITY else maximum
