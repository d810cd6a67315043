"""Who may ask: tokens, hosts, sites."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline.errors import InputError
from pipeline.serving.app import make_app
from pipeline.serving.guard import Access, is_loopback
from pipeline.serving.service import Service

TOKEN = "a-good-token"


@pytest.fixture
def closed(service: Service) -> TestClient:
    """Of a service with a token."""
    return TestClient(make_app(service, Access.of("0.0.0.0", TOKEN)), base_url="http://paint.example")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "paint.example", ""])
def test_beyond_loopback_a_token_is_wanted(host: str) -> None:
    with pytest.raises(InputError, match="give a --token"):
        Access.of(host, None)
    assert Access.of(host, TOKEN).token == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_loopback_needs_none(host: str) -> None:
    assert is_loopback(host)
    assert Access.of(host, None).token is None


@pytest.mark.parametrize("token", ["", "short", "with blanks in it", "a;cookie=breaks", "höchstgeheim"])
def test_weak_tokens_are_refused(token: str) -> None:
    with pytest.raises(InputError, match="token"):
        Access.of("127.0.0.1", token)


def test_a_token_is_shown_nowhere() -> None:
    assert TOKEN not in repr(Access.of("0.0.0.0", TOKEN))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong-token"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer h\xf6h".encode("latin-1")},
        {"cookie": "spadework_token=wrong-token"},
        {"cookie": "=;=;spadework_token"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/page/index.html", "/api/v1/checkpoints", "/metrics", "/nothing"])
def test_nothing_without_the_token(closed: TestClient, path: str, headers: dict[str, str]) -> None:
    answer = closed.get(path, headers=headers)
    assert (answer.status_code, list(answer.json())) == (401, ["error"])
    assert answer.headers["www-authenticate"] == "Bearer"


def test_health_needs_no_token(closed: TestClient) -> None:
    assert closed.get("/healthz").json() == {"status": "ok"}


def test_the_token_in_a_header_or_a_cookie(closed: TestClient) -> None:
    path = "/api/v1/checkpoints"
    assert closed.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert closed.get("/?token=wrong-token").status_code == 401
    answer = closed.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert answer.headers["set-cookie"] == f"spadework_token={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    assert closed.get(path).status_code == 200  # with the cookie


@pytest.mark.parametrize(
    "others",
    ["{}", "a=1; {}", "{}; a=1", 'theme={{"dark": true}}; {}', "bad name=1;{}", 'a="; {}', "=;; {} ;", "a[]=x, {}; {}"],
)
def test_other_cookies_do_no_harm(closed: TestClient, others: str) -> None:
    cookie = others.format(*[f"spadework_token={TOKEN}"] * 2)
    assert closed.get("/api/v1/checkpoints", headers={"cookie": cookie}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "192.168.1.4:8000", "[::1", ""])
def test_other_names_of_this_machine_are_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/v1/checkpoints", headers={"host": host})
    assert (answer.status_code, list(answer.json())) == (403, ["error"])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_its_own_names_are_not(client: TestClient, host: str) -> None:
    assert client.get("/api/v1/checkpoints", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9000"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ],
)
def test_pages_of_other_sites_may_not_ask(client: TestClient, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/api/v1/marks"), ("GET", "/api/v1/checkpoints")):
        answer = client.request(method, path, headers=headers)
        assert (answer.status_code, list(answer.json())) == (403, ["error"])


def test_its_own_page_and_links_to_it_may(client: TestClient) -> None:
    own = {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}
    assert client.get("/api/v1/checkpoints", headers=own).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/", headers=link).status_code == 200


def test_answers_carry_their_policy(client: TestClient) -> None:
    for path in ("/", "/nothing", "/api/v1/checkpoints"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'; ")
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_the_page_is_served(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert client.get("/page/index.html").content == page.content
    files = Path(__file__).parents[3] / "pipeline" / "serving" / "page"
    for path in files.rglob("*"):
        if path.is_file():
            assert client.get(f"/page/{path.relative_to(files).as_posix()}").content == path.read_bytes()
