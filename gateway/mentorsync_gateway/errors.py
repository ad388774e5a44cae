"""What goes wrong with a gateway."""


class GatewayError(Exception):
    """The gateway cannot start. The message says why in one line, and names the setting to change if there is one."""


class HostModuleError(GatewayError):
    """Envoy cannot host Python here (another platform, or a Python without a shared library). The separate mode can."""
