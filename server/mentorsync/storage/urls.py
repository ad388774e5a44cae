"""Database URLs as people may see them."""

from urllib.parse import urlsplit


def without_credentials(url: str) -> str:
    """A URL with neither user nor password nor query, for terminals and logs."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
