"""What stands before every request: who may ask, how much at once, and for how long. Plain ASGI."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.errors import InputError
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.refusal import Refusal

log = logging.getLogger(__name__)

FAILED = "something went wrong in the service; its log says what"
"""What a client is told of a defect."""
COOKIE = "spadework_token"
OPEN_PATHS = ("/healthz",)
"""That need no token: whoever looks after processes has none."""
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Of every answer: nothing is loaded from elsewhere, and no other site shows or reads what is ours."""


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    token: str | None = field(default=None, repr=False)
    """What every request must bring; None: whoever reaches this machine's loopback."""
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    """Names under which the service may be asked for where there is no token. A page of another site can make its own
    name mean this machine (DNS rebinding), but not one of these."""

    @classmethod
    def of(cls, host: str, token: str | None) -> Access:
        """For a service that listens on `host`; `InputError` for one beyond loopback without a token, or a weak one."""
        if token is not None and not re.fullmatch(r"[\w.~-]{8,200}", token, re.ASCII):
            raise InputError(
                "the token is no 8 to 200 letters, digits and . _ ~ -, as it goes into addresses; take such"
            )
        if token is None and not is_loopback(host):
            raise InputError(
                f"--host {host} can be reached from other machines; give a --token that clients must bring (such as "
                f"--token {secrets.token_urlsafe(12)}), or leave out --host"
            )
        return cls(token, tuple({*cls.hosts, host}))


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Refuses what must not reach the application, bounds what does, and answers whatever it raises in one sentence."""

    def __init__(
        self, app: ASGIApp, *, access: Access, limits: Limits, metrics: Metrics, routes: Iterable[str] = ()
    ) -> None:
        """`routes` are the paths that metrics tell apart."""
        self._app, self._access, self._limits, self._metrics = app, access, limits, metrics
        self._routes = frozenset(routes)
        self._active = 0
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answer = _Answer(send)
        self._active += 1
        self._metrics.active.set(self._active)
        body = _Body(receive, self, self._limits)
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                redirect = self._admit(scope)
                if redirect is not None:
                    await answer.redirect(redirect, self._access.token or "", secure=scope.get("scheme") == "https")
                else:
                    await self._app(scope, body, answer.send)
        except Refusal as refusal:
            self.count(refusal)
            await answer.refuse(refusal)
        except TimeoutError:
            late = Refusal(
                503, f"this took more than {self._limits.answer_seconds:g} s; try again later", retry_after=5,
                reason="too slow",
            )  # fmt: skip
            self.count(late)
            await answer.refuse(late)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            await answer.refuse(Refusal(500, FAILED))
        finally:
            self._held -= body.held
            self._active -= 1
            self._metrics.active.set(self._active)
            route = self._route(scope["path"])
            self._metrics.requests.labels(route, str(answer.status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - began)

    def count(self, refusal: Refusal) -> None:
        """Keep the reason of a refusal."""
        if refusal.reason:
            self._metrics.rejections.labels(refusal.reason).inc()

    def hold(self, size: int) -> None:
        """Count bytes of a body; `Refusal` (503) where those of all requests are too many."""
        self._held += size
        if self._held > self._limits.max_held_bytes:
            raise Refusal(503, "too much is being sent at once; try again later", retry_after=2, reason="memory")

    def _route(self, path: str) -> str:
        if path.startswith("/page/"):
            return "/page"
        return path if path in self._routes else "other"

    def _admit(self, scope: Scope) -> str | None:
        """Raise `Refusal` for a request that must not be answered; where to go, for one that brings the token."""
        headers = Headers(scope=scope)
        if self._active > self._limits.max_requests:
            raise Refusal(503, "too many requests at once; try again later", retry_after=1, reason="too many requests")
        self._check_site(headers)
        length = headers.get("content-length", "")
        if length.isdecimal():
            check_body(int(length), self._limits)
        if self._access.token is None or scope["path"] in OPEN_PATHS:
            return None
        if scope["path"] == "/" and b"token=" in scope["query_string"]:
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if not self._is_token(given):
                raise Refusal(401, "this is not the service's token", reason="token")
            return "/"
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return None
        if self._is_token(_cookie(headers)):
            return None
        raise Refusal(
            401,
            "this service wants its token: open /?token=... in a browser, or send Authorization: Bearer ...",
            reason="token",
        )

    def _is_token(self, given: str) -> bool:
        assert self._access.token is not None
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._access.token.encode())

    def _check_site(self, headers: Headers) -> None:
        """Refuse (403) what a page of another site makes a browser ask."""
        host = headers.get("host", "")
        if self._access.token is None and _name(host) not in self._access.hosts:
            raise Refusal(
                403, "the service is not known by this name; ask for it as localhost, or give it a --token",
                reason="host",
            )  # fmt: skip
        origin = headers.get("origin")
        if origin is not None and _site(origin) != host.lower():
            raise Refusal(403, "pages of other sites may not use this service", reason="origin")
        if origin is None and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            if headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document":
                return  # A link; it changes nothing, and its answer is the user's alone.
            raise Refusal(403, "pages of other sites may not use this service", reason="origin")


def check_body(size: int, limits: Limits) -> None:
    """Raise `Refusal` (413) for a body of more bytes than are taken."""
    if size > limits.max_body_bytes:
        raise Refusal(413, f"the body has more than {limits.max_body_bytes} bytes; send less", reason="body size")


def _name(host: str) -> str:
    """A Host header without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _site(origin: str) -> str:
    """The host and port of an Origin header; empty where there is none, as of `null`."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _cookie(headers: Headers) -> str:
    """Our cookie, whatever others the browser sends: those of all services of this host, some of them ill-formed."""
    for given in headers.getlist("cookie"):
        for pair in given.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == COOKIE:
                return value.strip('"')
    return ""


class _Body:
    """The body of a request, with its size and its time counted."""

    def __init__(self, receive: Receive, guard: Guard, limits: Limits) -> None:
        self._receive, self._guard, self._limits = receive, guard, limits
        self._ends: float | None = None
        self._complete = False
        self.held = 0

    async def __call__(self) -> Message:
        """The next part; raises `Refusal` for too many bytes (413, or 503 where those of all requests are) or too much
        time (408)."""
        if self._complete:
            return await self._receive()  # waits for the client to go
        clock = asyncio.get_running_loop().time
        self._ends = self._ends or clock() + self._limits.body_seconds
        try:
            async with asyncio.timeout_at(self._ends):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(
                408, f"the body did not come within {self._limits.body_seconds:g} s; send it again", reason="slow body"
            ) from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self.held += size
            self._complete = not message.get("more_body", False)
            self._guard.hold(size)
            check_body(self.held, self._limits)
        return message


class _Answer:
    """The answer of a request: what was said of it so far."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self._ended = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """As ASGI has it, with our headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message.get("headers", ())}
            ours = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
            message = {
                **message,
                "headers": [*message.get("headers", ()), *(pair for pair in ours if pair[0] not in given)],
            }
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """One sentence as JSON; nothing where an answer has begun, which the server then breaks off."""
        if self.status:
            return
        await self._whole(refusal.status, refusal.body, refusal.headers)

    async def redirect(self, target: str, token: str, *, secure: bool) -> None:
        """To the page without the token in its address, with a cookie in its place."""
        cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"
        await self._whole(303, b"{}", {"location": target, "set-cookie": cookie, "cache-control": "no-store"})

    async def _whole(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        lines = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
            }
        )
        await self.send({"type": "http.response.body", "body": body})
