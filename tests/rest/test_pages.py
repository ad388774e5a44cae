"""The pages that the gateway serves itself."""

import hashlib
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from mentorsync.supervisor.envoy import Envoy
from mentorsync_gateway.config import Config, connection_manager, separate
from mentorsync_gateway.pages import FOLDER, JWT, JWT_TYPE, PAGES, RAPIDOC_SHA256, Page, with_pages

from tests.contract import BASE
from tests.rest.answers import FREE_PORT, assert_error, serve, serve_config
from tests.rest.conftest import StubServer
from tests.server_process import Database
from tests.up_process import UpProcess

TOKEN_FILTER = {
    "name": JWT,
    "typed_config": {
        "@type": f"{JWT_TYPE}.JwtAuthentication",
        "providers": {
            "any": {"local_jwks": {"inline_string": '{"keys": [{"kty": "oct", "alg": "HS256", "k": "c2VjcmV0"}]}'}}
        },
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "any"}}],
    },
}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)


@pages
def test_a_page_is_served_with_its_type_and_policy(client: httpx.Client, page: Page) -> None:
    """The bytes are those of the file. Browsers may load nothing from elsewhere."""
    response = client.get(page.path)
    assert response.status_code == 200
    assert response.content == page.file.read_bytes()
    assert response.headers["content-type"] == page.content_type
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-request-id"]
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy


@pages
def test_a_page_that_has_not_changed_is_not_sent_again(client: httpx.Client, page: Page) -> None:
    """With and without compression, the tag of an answer is good for the next request."""
    for encoding in ("gzip", "identity"):
        first = client.get(page.path, headers={"accept-encoding": encoding})
        again = client.get(page.path, headers={"if-none-match": first.headers["etag"]})
        assert again.status_code == 304
        assert again.content == b""
    assert client.get(page.path, headers={"if-none-match": '"other"'}).status_code == 200


def test_a_large_page_is_compressed(client: httpx.Client) -> None:
    """RapiDoc takes less than a third of its bytes on the wire."""
    response = client.get("/rapidoc.js", headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert response.num_bytes_downloaded < len(response.content) / 3


@pages
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_a_page_has_no_other_method_than_get(client: httpx.Client, page: Page, method: str) -> None:
    """Others are answered with 405, as on the contract's paths."""
    response = client.request(method, page.path)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET"


def test_calls_are_not_compressed(client: httpx.Client) -> None:
    """Compression is for pages alone: it costs more than it saves on small answers, and a page needs no secret."""
    response = client.get("/nothing", headers={"accept-encoding": "gzip"})
    assert_error(response, 404, 5)
    assert "content-encoding" not in response.headers


def test_without_pages_the_paths_are_unknown(start_gateway: Callable[[Config], Envoy], stub: StubServer) -> None:
    """They are answered as any unknown path."""
    url = serve(start_gateway, stub.address)
    for page in PAGES:
        assert_error(httpx.get(f"{url}{page.path}"), 404, 5)


def test_pages_need_no_token(start_gateway: Callable[[Config], Envoy], stub: StubServer) -> None:
    """Where every call needs one, one can still read how to make a call."""
    config = with_pages(separate(FREE_PORT, FREE_PORT, [stub.address]))
    connection_manager(config)["http_filters"].insert(0, TOKEN_FILTER)
    url = serve_config(start_gateway, config)
    assert httpx.get(f"{url}{BASE}").status_code == 401
    for page in PAGES:
        assert httpx.get(f"{url}{page.path}").status_code == 200


def test_a_setting_switches_the_pages_off(database: Database, tmp_path: Path) -> None:
    """MENTORSYNC_PAGES=off. Then `up` prints no address of them."""
    up = UpProcess(database, tmp_path / "up.log", [], pages="off")
    try:
        assert "docs" not in up.announced
        assert_error(httpx.get(f"{up.url}/docs"), 404, 5)
    finally:
        up.signal(signal.SIGTERM)
        up.end()


def test_rapidoc_is_the_pinned_release() -> None:
    """The file is the one whose origin the package states."""
    assert hashlib.sha256((FOLDER / "rapidoc-min.js").read_bytes()).hexdigest() == RAPIDOC_SHA256
