"""Database URLs are shown without passwords, even if they are not well-formed."""

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
