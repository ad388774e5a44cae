"""Database URLs are shown without passwords, even if they are not well-formed."""

from contextlib import closing

import pytest
from mentorsync.config import DATABASE_URL
from mentorsync.storage.engine import open_engine
from mentorsync.storage.errors import StorageSetupError
from mentorsync.storage.urls import HIDDEN, without_credentials


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///dir@x/file.db", "sqlite:///dir@x/file.db"),
        ("postgresql://host/name", "postgresql://host/name"),
        ("postgresql://user:secret@host:5432/name?password=secret#secret", "postgresql://host:5432/name"),
        ("postgres://user@[::1]:5432/name", "postgres://[::1]:5432/name"),
        ("postgresql://user:secret@a:1,b,[::1]:2/name", "postgresql://a:1,b,[::1]:2/name"),
        ("postgresql:///name?host=/run/postgresql", "postgresql:///name"),
        ("postgresql://user:secret@/name?host=/run/postgresql", "postgresql:///name"),
        ("postgresql://user:secret@%2Frun%2Fpostgresql/name", "postgresql://%2Frun%2Fpostgresql/name"),
        ("postgresql://user:se%2Fcret@host", "postgresql://host"),
        # PostgreSQL's client reads these as they are meant.
        ("postgresql://user:se?cret@host/name", "postgresql://host/name"),
        ("postgresql://user:se#cret@host/name", "postgresql://host/name"),
        # It reads these differently.
        ("postgresql://user:se/cret@host/name", HIDDEN),
        ("postgresql://user:12/cret@host/name", HIDDEN),
        ("postgresql://user:12/34?cret@host/name", HIDDEN),
        ("postgresql://user:12/34?a=cret@host/name", HIDDEN),
        ("postgresql://user:se@cret@host/name", HIDDEN),
        ("postgresql://user:12/34#cret@host/name", HIDDEN),
        ("postgresql://user:se/cret", HIDDEN),
        ("postgresql://user:secret@[host/name", HIDDEN),
    ],
)
def test_nothing_that_may_be_a_password_is_shown(url: str, shown: str) -> None:
    """An unescaped / ends the host, so that the rest of a password would be shown as the database's name."""
    assert without_credentials(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///name?host=/run/postgresql",
        "postgresql://user:secret@/name?host=/run/postgresql",
        "postgresql:///?service=mentorsync",
        "postgresql://a:1,b:2/name?target_session_attrs=read-write",
        "postgresql://user:se?cret@host/name",
        "postgres://host",
        "postgresql://user:secret@%2Frun%2Fpostgresql/name",
    ],
)
def test_a_clear_url_is_accepted(url: str) -> None:
    """A URL may name a directory of sockets, or several hosts."""
    assert DATABASE_URL.kind.parse(url) == url


@pytest.mark.parametrize("url", ["postgresql://", "postgresql://u:secret@[host/name", "postgresql://user:se/cret@host"])
def test_a_url_whose_parts_are_unclear_is_refused(url: str) -> None:
    """The message says what would be right."""
    with pytest.raises(ValueError, match=r"must be sqlite:///file\.db"):
        DATABASE_URL.kind.parse(url)


def test_an_engine_of_an_unclear_url_is_refused() -> None:
    """Nothing is connected: an error of the client's could show a part of the password."""
    with pytest.raises(StorageSetupError, match="percent-encoded") as raised:
        open_engine("postgresql://user:12/cret@host/name")
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sslMode=verify-full", "does not understand this URL's option sslMode"),
        ("sslmode=require&foo=1&bar=1", "does not understand this URL's option foo"),
        ("sslmode", "does not understand this URL's option sslmode"),
        ("connect_timeout=soon", "does not understand this URL's option connect_timeout"),
        ("ssl%20mode=require&connect_timeout=1", "does not understand this URL's options: ssl%20mode, connect_timeout"),
        ("sslmode=%zz", "does not understand this URL: a % that is meant as such must be written as %25"),
    ],
)
def test_the_error_names_the_option_that_is_wrong(query: str, problem: str) -> None:
    """PostgreSQL's client refuses each of these before it connects."""
    with (
        closing(open_engine(f"postgresql://user@host/name?{query}")) as engine,
        pytest.raises(StorageSetupError) as raised,
    ):
        engine.check()
    assert str(raised.value) == f"postgresql://host/name: PostgreSQL {problem}"


@pytest.mark.parametrize(
    "url",
    [
        "user:%zsecret@host/name",
        "user@host/name?password=12&secret=1",
        "user:12?secret@host/name?ssl%20mode=require",
    ],
)
def test_the_error_about_options_shows_no_part_of_a_password(url: str) -> None:
    """A password that is not percent-encoded looks like an option from its & on."""
    with closing(open_engine(f"postgresql://{url}")) as engine, pytest.raises(StorageSetupError) as raised:
        engine.check()
    assert "does not understand this URL" in str(raised.value)
    assert "secret" not in str(raised.value)
