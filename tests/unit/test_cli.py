"""The parts of the command line that need no server."""

import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest
from mentorsync import __version__
from mentorsync.arguments import parse_age, parse_replicas
from mentorsync.cli import main

COMMANDS = ("up", "serve", "gateway", "migrate", "purge", "new-epoch", "simulate")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)]
)
def test_an_age_is_a_number_with_a_unit(text: str, seconds: int) -> None:
    """Seconds, minutes, hours and days."""
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "1w", "30 d", "٣d", "30d\n"])
def test_any_other_age_is_refused(text: str) -> None:
    """The message shows how an age is written."""
    with pytest.raises(ArgumentTypeError, match="such as 30d"):
        parse_age(text)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`mentorsync --version` prints name and version."""
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"mentorsync {__version__}\n"


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """`mentorsync --help` names every command."""
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    listed = [line.strip().split(" ")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_its_flags(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command's help names each setting's flag, default and variable."""
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "variable MENTORSYNC_" in text
    assert "(default " in text


def test_a_misspelt_variable_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that misses a setting says so before anything else. A part of `up` leaves that to `up`."""
    monkeypatch.setenv("MENTORSYNC_JWT_ISUER", "https://issuer.example")
    monkeypatch.setenv("MENTORSYNC_DATABASE_URL", "mysql://")
    assert main(["migrate"]) == 2
    warning, refusal = capsys.readouterr().err.splitlines()
    assert warning == (
        "mentorsync: MENTORSYNC_JWT_ISUER is not a setting and has no effect. Did you mean MENTORSYNC_JWT_ISSUER?"
    )
    monkeypatch.setenv("MENTORSYNC_STOP_DESCRIPTOR", "0")
    assert main(["migrate"]) == 2
    assert capsys.readouterr().err.splitlines() == [refusal]


@pytest.mark.parametrize("arguments", [[], ["fly"], ["serve", "--colour", "red"], ["purge", "--older-than", "soon"]])
def test_a_wrong_command_line_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage goes to standard error with status 2."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: mentorsync" in capsys.readouterr().err


def test_a_bad_setting_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that cannot start prints the reason in one line, with status 2."""
    assert main(["migrate", "--database-url", "mysql://nowhere"]) == 2
    assert capsys.readouterr().err == (
        "mentorsync: MENTORSYNC_DATABASE_URL (or --database-url) must be sqlite:///file.db (relative), "
        "sqlite:////path/to/file.db (absolute), both without parameters, or postgresql://user:password@host:port/name; "
        "in the user name and the password, the characters / ? # @ : % must be percent-encoded, such as / as %2F\n"
    )


def test_a_url_that_cannot_be_called_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused before anything is called."""
    assert main(["simulate", "--url", "http://127.0.0.1:99999"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        "mentorsync: MENTORSYNC_URL (or --url) must be an http or https URL with a host, such as "
        "http://127.0.0.1:8080, not 'http://127.0.0.1:99999'\n"
    )


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:", "sqlite:////tmp/"])
def test_a_url_without_a_file_is_one_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """SQLite needs a file: neither memory nor a folder will do."""
    assert main(["migrate", "--database-url", url]) == 2
    assert capsys.readouterr().err.startswith("mentorsync: MENTORSYNC_DATABASE_URL (or --database-url) must be")


@pytest.mark.parametrize(
    ("command", "module", "extras"),
    [
        ("up", "peewee", "server,gateway"),
        ("up", "envoy", "server,gateway"),
        ("gateway", "envoy", "gateway"),
        ("serve", "peewee", "server"),
        ("migrate", "peewee", "server"),
        ("purge", "peewee", "server"),
        ("simulate", "rich", "simulate"),
    ],
)
def test_a_command_without_its_packages_says_how_to_install_them(
    command: str, module: str, extras: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plain `pip install` brings the client alone."""
    monkeypatch.setitem(sys.modules, module, None)
    assert main([command]) == 2
    assert capsys.readouterr().err == (
        "mentorsync: this command needs more than the client. "
        f"Install it with: pip install 'mentor-status-sync[{extras}]'\n"
    )


def test_replicas_on_sqlite_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message gives the reason, and no file is created."""
    path = tmp_path / "mentorsync.db"
    assert main(["up", "--replicas", "2", "--database-url", f"sqlite:///{path}"]) == 2
    assert capsys.readouterr().err == (
        "mentorsync: --replicas 2 needs PostgreSQL (MENTORSYNC_DATABASE_URL): SQLite serves one process\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["0", "65", "-1", "two", "", "\N{ARABIC-INDIC DIGIT TWO}"])
def test_a_number_of_replicas_out_of_bounds_is_refused(text: str) -> None:
    """The message shows the bounds."""
    with pytest.raises(ArgumentTypeError, match="must be a number from 1 to 64"):
        parse_replicas(text)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of something else is refused and left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("These are notes, not a database.\n" * 100)
    before = path.read_bytes()
    for command in ("migrate", "purge", "new-epoch"):
        assert main([command, "--database-url", f"sqlite:///{path}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"mentorsync: the database file {path} cannot be opened: ")
    assert path.read_bytes() == before


def test_a_folder_that_does_not_exist_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message shows the path."""
    path = tmp_path / "nowhere" / "mentorsync.db"
    assert main(["migrate", "--database-url", f"sqlite:///{path}"]) == 2
    assert str(path) in capsys.readouterr().err
