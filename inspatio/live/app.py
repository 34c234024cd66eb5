"""The web application: who may come in, and the few addresses there are.

A request must name a host that is this server (against DNS rebinding), come from its own pages where a browser says
where it comes from, and carry the token: in the address once, then in a cookie; programs may send it as a bearer.
Files come from a list made at the start, downloads by names that the server made, nothing by a path that a client gave.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from inspatio.errors import UserError
from inspatio.live.connection import TRY_LATER, Connection
from inspatio.live.hub import Hub
from inspatio.live.realtime import RealtimeDoor
from inspatio.live.realtime_protocol import PATH
from inspatio.live.videos import Videos

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets only requests through that come from this server's own pages with its token; see the module."""

    def __init__(self, app: ASGIApp, *, token: str, hosts: frozenset[str], port: int) -> None:
        """``hosts`` are the names that this server goes by; ``port`` names the cookie, which ports would else share."""
        self._app, self._token, self._hosts = app, token.encode(), hosts
        self._cookie = f"inspatio_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        answer = self._answer(scope)
        if answer is None:
            await self._app(scope, receive, send_with_headers)
        elif scope["type"] == "http":
            await answer(scope, receive, send_with_headers)
        else:
            await WebSocket(scope, receive, send_with_headers).send_denial_response(answer)

    def _answer(self, scope: Scope) -> Response | None:
        """The refusal or the redirect that answers a request; None: it may pass."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name_of(hosts[0]) not in self._hosts:
            return PlainTextResponse("unknown host\n", 400)
        origins = headers.getlist("origin")
        if origins and origins != [f"{_http(scope)}://{hosts[0]}"]:
            return PlainTextResponse("foreign origin\n", 403)
        query = QueryParams(scope["query_string"])
        if "token" in query and scope["type"] == "http" and scope["path"] == "/":
            if not self._is_token(query["token"]):
                return PlainTextResponse("wrong token\n", 403)
            moved = RedirectResponse("/", 303)
            moved.set_cookie(self._cookie, query["token"], httponly=True, samesite="strict", path="/")
            return moved
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(bearer.strip()):
            return None
        if not self._is_token(_cookies(headers).get(self._cookie, "")):
            return PlainTextResponse("open the address with the token that the program printed\n", 403)
        return None

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self._token)


def make_app(hub: Hub, *, token: str, hosts: frozenset[str], port: int, clips: Path) -> Starlette:
    """The application of one world."""
    files = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in TYPES and path.is_file()}

    async def static(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            return PlainTextResponse("no such file\n", 404)
        return Response(files[name], media_type=TYPES[Path(name).suffix])

    async def points(request: Request) -> Response:
        data = await run_in_threadpool(lambda: hub.world.points)
        return Response(data, media_type="application/octet-stream")

    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        if hub.full:
            await socket.close(TRY_LATER, "too many pages")
            return
        await hub.serve(Connection(socket, hub.handle))

    def download(find: Callable[[str], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                response = find(request.path_params["name"])
            except (UserError, KeyError):
                return PlainTextResponse("no such file\n", 404)
            return response

        return answer

    def flight_text(name: str) -> Response:
        flight = hub.world.flights.find(name)
        return FileResponse(flight.path, media_type="text/plain", filename=f"{flight.name}.txt")

    def flight_gltf(name: str) -> Response:
        world = hub.world
        text = world.flights.gltf(name, world.frame_rate, world.intrinsics, world.scene.size)
        shown = {"Content-Disposition": f'attachment; filename="{name}.gltf"'}
        return Response(text, media_type="model/gltf+json", headers=shown)

    def clip(name: str) -> Response:
        made: Mapping[str, Path] = {path.name: path for path in clips.glob("*.mp4")}
        return FileResponse(made[f"{name}.mp4"], media_type="video/mp4", filename=f"{name}.mp4")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await hub.start()
        yield

    routes = [
        Route("/", static),
        WebSocketRoute("/live", socket),
        WebSocketRoute(PATH, RealtimeDoor(hub.world).serve),
        Route("/flights/{name}.txt", download(flight_text)),
        Route("/flights/{name}.gltf", download(flight_gltf)),
        Route("/clips/{name}.mp4", download(clip)),
        Route("/points.bin", points),
        *(Videos(hub.world, hub.jobs).routes() if hub.jobs else []),
        Route("/{name}", static),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.add_middleware(Guard, token=token, hosts=hosts, port=port)
    return app


def _name_of(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _http(scope: Scope) -> str:
    return "https" if scope["scheme"] in ("https", "wss") else "http"


def _cookies(headers: Headers) -> dict[str, str]:
    pairs = (pair.strip().partition("=") for text in headers.getlist("cookie") for pair in text.split(";"))
    return {name: value for name, _, value in pairs}
