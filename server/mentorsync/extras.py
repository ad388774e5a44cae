"""The parts of the distribution that commands need. Without extras, `pip install` brings only the client."""

from importlib.util import find_spec

from mentorsync.config import SettingsError

MODULES = {
    "server": "peewee",
    "gateway": "envoy",
    "simulate": "rich",
}  # a module of each extra that comes with no other one
DEFAULT = ("server",)
OF_COMMANDS = {"up": ("server", "gateway"), "gateway": ("gateway",), "simulate": ("simulate",)}


def check_extras(command: str) -> None:
    """Raises SettingsError, with the command that installs them, if a command lacks extras."""
    extras = OF_COMMANDS.get(command, DEFAULT)
    if any(find_spec(MODULES[extra]) is None for extra in extras):
        raise SettingsError(
            "this command needs more than the client. "
            f"Install it with: pip install 'mentor-status-sync[{','.join(extras)}]'"
        )
