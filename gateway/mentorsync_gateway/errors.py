"""Errors of the gateway."""


class GatewayError(Exception):
    """The gateway cannot start. The message is one line with the cause, and names the setting to change, if any."""


class HostModuleError(GatewayError):
    """Envoy cannot host Python here (another platform, or no shared libpython). The separate mode still works."""
