"""Database URLs: whether they are unambiguous, and how to show them without credentials."""

import re

HOST = r"(?:[\w.%-]*|\[[\w:.%]+\])(?::\d*)?"
# As PostgreSQL's client reads a URL: the user and password end at the first @, if no slash comes before it. If they
# hold an unescaped / or @, the client takes a part of the password for a part of the hosts, the name or the query. Such
# hosts, names and queries do not match.
URL = re.compile(
    rf"(?P<scheme>[a-z]+)://(?:[^@/]*@)?(?P<hosts>{HOST}(?:,{HOST})*)(?P<name>/[^@/?#]*)?(?:\?(?P<query>[^@]*))?",
    re.ASCII,
)
HIDDEN = "postgresql://(hidden: its user, password or name has characters that must be percent-encoded)"
WRONG_PERCENT_ENCODING = re.compile(r"%(?![0-9A-Fa-f]{2})")
WRONG_OPTION = re.compile(r'URI query parameter: "(\w+)"|bad value for (\w+)')  # in the errors of PostgreSQL's client
PERCENT_ENCODING = (
    "in the user name and the password, the characters / ? # @ : % must be percent-encoded, such as / as %2F"
)


def is_unambiguous(url: str) -> bool:
    """Whether it is certain which part of a PostgreSQL database's URL is the password."""
    return URL.fullmatch(url) is not None


def without_credentials(url: str) -> str:
    """A URL without user, password and query, for terminals and logs. An ambiguous URL is not shown at all."""
    if url.startswith("sqlite:"):
        return url
    parts = URL.fullmatch(url)
    return f"{parts['scheme']}://{parts['hosts']}{parts['name'] or ''}" if parts else HIDDEN


def misunderstood(url: str, error: str) -> str:
    """What PostgreSQL's client does not understand in a URL: the option that its error names, or else all options.

    Names none if there is a password among the options: if it has an unescaped &, a part of it looks like an option.
    """
    if WRONG_PERCENT_ENCODING.search(url):
        return "this URL: a % that is meant as such must be written as %25"
    parts = URL.fullmatch(url)
    query = parts["query"] if parts else ""
    if not query or "password" in query:
        return "this URL"
    if named := WRONG_OPTION.search(error):
        return f"this URL's option {named[1] or named[2]}"
    return f"this URL's options: {', '.join(option.partition('=')[0] for option in query.split('&'))}"
