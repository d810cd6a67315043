"""The application: routes, the page, and the guard before them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pipeline.errors import InputError
from pipeline.serving.guard import FAILED, Access, Guard
from pipeline.serving.openapi import describe
from pipeline.serving.operations import OPERATIONS, Handler
from pipeline.serving.page_files import page_files
from pipeline.serving.refusal import Refusal
from pipeline.serving.service import Service

DOCUMENT = "/api/v1/openapi.json"


def make_app(service: Service, access: Access) -> ASGIApp:
    """The application, which closes the service when the server shuts down."""
    files = page_files()
    document = describe()

    def file(name: str) -> Response:
        if name not in files:
            raise Refusal(404, "there is no such file")
        return FileResponse(files[name], headers={"cache-control": "no-cache"})

    async def page(request: Request) -> Response:
        return file("index.html")

    async def page_file(request: Request) -> Response:
        return file(request.path_params["name"])

    async def openapi(request: Request) -> Response:
        return JSONResponse(document)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    async def refuse(request: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)
        if refusal.reason:
            service.metrics.rejections.labels(refusal.reason).inc()
        return Response(refusal.body, refusal.status, headers=refusal.headers)

    async def refuse_address(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = {404: "there is nothing at this address", 405: "this address does not take this method"}
        refusal = Refusal(error.status_code, said.get(error.status_code, str(error.detail)))
        return Response(refusal.body, refusal.status, headers={**(error.headers or {}), **refusal.headers})

    async def fail(request: Request, error: Exception) -> Response:
        refusal = Refusal(500, FAILED)  # the guard logs the error, which Starlette raises again
        return Response(refusal.body, refusal.status, headers=refusal.headers)

    handlers: dict[str, dict[str, Handler]] = {}
    for each in OPERATIONS:
        handlers.setdefault(each.path, {})[each.method] = each.handler
    routes = [
        Route("/", page),
        Route("/page/{name:path}", page_file),
        Route(DOCUMENT, openapi),
        # One route an address, so that 405 names all of its methods.
        *(Route(path, _answering(service, methods), methods=list(methods)) for path, methods in handlers.items()),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={Refusal: refuse, HTTPException: refuse_address, Exception: fail},
    )
    paths = ["/", DOCUMENT, *(each.path for each in OPERATIONS)]
    return Guard(app, access=access, limits=service.limits, metrics=service.metrics, routes=paths)


def _answering(service: Service, handlers: dict[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
    """The handlers of an address by method; mistakes of the user become 400."""

    async def answer(request: Request) -> Response:
        try:
            return await handlers["GET" if request.method == "HEAD" else request.method](service, request)
        except InputError as error:
            raise Refusal(400, str(error)) from None
        except ClientDisconnect:
            return Response(status_code=499)

    return answer
