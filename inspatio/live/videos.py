"""Offline renders over HTTP, in the shape of OpenAI's videos: start one, ask how far it is, fetch it, delete it.

    POST   /v1/videos {"flight": "flight-1"}      a video object, queued
    GET    /v1/videos                             all of them
    GET    /v1/videos/{id}                        one: queued, in_progress, completed or failed, with its progress
    GET    /v1/videos/{id}/content                the mp4
    DELETE /v1/videos/{id}                        stop it, or delete what was made

What is rendered is a recorded flight through the server's clip, whose name is the video's id. The page's own buttons
use this too. The same token as everywhere lets a program in: as the cookie, or as `Authorization: Bearer`.
"""

from __future__ import annotations

import time
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from inspatio.errors import UserError
from inspatio.live.connection import BURST, MESSAGES_PER_SECOND, RateLimit
from inspatio.live.flights import FlightFile
from inspatio.live.jobs import Job, Jobs
from inspatio.live.protocol import MAX_MESSAGE, MAX_PROMPT, Name, first_error
from inspatio.live.world import World

PATH = "/v1/videos"


class NewVideo(BaseModel):
    """What to render. ``model`` and ``size`` may only say what they are; the clip has its own prompt."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", frozen=True)

    flight: Name
    model: Annotated[str, Field(max_length=100)] | None = None
    size: Annotated[str, Field(max_length=20)] | None = None
    prompt: Annotated[str, Field(max_length=MAX_PROMPT)] = ""


class Videos:
    """The offline renders of one world as HTTP routes."""

    def __init__(self, world: World, jobs: Jobs) -> None:
        self._world, self._jobs = world, jobs
        self._limit = RateLimit(MESSAGES_PER_SECOND, BURST, time.monotonic())

    def routes(self) -> list[Route]:
        """The addresses of the module."""
        return [
            Route(PATH, self._all, methods=["GET"]),
            Route(PATH, self._create, methods=["POST"]),
            Route(f"{PATH}/{{id}}", self._one, methods=["GET"]),
            Route(f"{PATH}/{{id}}", self._delete, methods=["DELETE"]),
            Route(f"{PATH}/{{id}}/content", self._content, methods=["GET"]),
        ]

    async def _all(self, request: Request) -> Response:
        found = [(flight, self._jobs.find(flight.name, flight.path)) for flight in self._world.flights.all()]
        data = [self._object(flight, job) for flight, job in found if job is not None]
        return JSONResponse({"object": "list", "data": data})

    async def _create(self, request: Request) -> Response:
        if not self._limit.take(time.monotonic()):
            return _error(429, f"got more than {MESSAGES_PER_SECOND:g} requests a second, expected fewer")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _error(415, "expected a body of type application/json")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_MESSAGE:
                return _error(413, f"the body is too long, expected at most {MAX_MESSAGE} bytes")
        try:
            wanted = NewVideo.model_validate_json(body)
        except ValidationError as error:
            return _error(400, first_error(error))
        world = self._world
        height, width = world.scene.size
        for name, got, own in (
            ("model", wanted.model or world.options.name, world.options.name),
            ("size", wanted.size or f"{width}x{height}", f"{width}x{height}"),
            ("prompt", wanted.prompt, ""),
        ):
            if got != own:
                return _error(400, f"{name}: got {got!r}, expected {own!r}, the live world's. Leave it out.")
        try:
            flight = world.flights.find(wanted.flight)
        except UserError as error:
            return _error(404, str(error))
        try:
            job = self._jobs.start(flight.name, flight.path)
        except UserError as error:
            return _error(429, str(error))
        return JSONResponse(self._object(flight, job))

    async def _one(self, request: Request) -> Response:
        found = self._find(request)
        return _no_such_video() if found is None else JSONResponse(self._object(*found))

    async def _content(self, request: Request) -> Response:
        found = self._find(request)
        if found is None:
            return _no_such_video()
        flight, job = found
        path = self._jobs.result(flight.name)
        if job.state != "completed" or not path.is_file():
            return _error(404, f"{flight.name} is {job.state}, expected completed. Ask again later.")
        return FileResponse(path, media_type="video/mp4", filename=f"{flight.name}.mp4")

    async def _delete(self, request: Request) -> Response:
        found = self._find(request)
        if found is None:
            return _no_such_video()
        name = found[0].name
        await run_in_threadpool(self._jobs.delete, name)
        return JSONResponse({"id": name, "object": "video.deleted", "deleted": True})

    def _find(self, request: Request) -> tuple[FlightFile, Job] | None:
        try:
            flight = self._world.flights.find(request.path_params["id"])
        except UserError:
            return None
        job = self._jobs.find(flight.name, flight.path)
        return None if job is None else (flight, job)

    def _object(self, flight: FlightFile, job: Job) -> dict[str, object]:
        world = self._world
        height, width = world.scene.size
        return {
            "id": flight.name,
            "object": "video",
            "model": world.options.name,
            "status": job.state,
            "progress": int(100 * job.progress),
            "created_at": int(job.created),
            "completed_at": None if job.completed is None else int(job.completed),
            "size": f"{width}x{height}",
            "seconds": f"{flight.frames / world.frame_rate:.3f}",
            "error": {"code": "failed", "message": job.message} if job.state == "failed" else None,
        }


def _error(status: int, text: str) -> Response:
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    return JSONResponse({"error": {"message": text, "type": kind}}, status)


def _no_such_video() -> Response:
    return _error(404, "there is no such video, expected the id of one. GET /v1/videos lists them.")
