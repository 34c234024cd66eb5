"""The messages between the page and the server, whole: JSON text in both directions (pictures: ``picture_header.py``).

Every message is an object with a ``type``. What the page may send is the union :data:`FromPage`, checked strictly:
an unknown type or key, a number that is not finite or a rotation that is not one is an error message, never an
exception. ``static/protocol.js`` mirrors this file, and ``tests/live/protocol.json`` holds both to the same examples.

Poses are ``camera_to_world``: a position in the scene's unit and a unit quaternion w x y z, OpenCV axes, in the world
of the first source camera, or with ``follow`` relative to the source camera of the moment.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from inspatio.live.picture_header import Codec

VERSION = 1
MAX_MESSAGE = 65536
"""Bytes of the longest message that a page may send."""
MAX_PROMPT = 2000
"""Letters of the longest prompt."""

Layer: TypeAlias = Literal["result", "render", "holes", "depth", "source", "wipe", "branches"]
"""What the stage shows: the result; the splat alone, as the generator gets it; the result with its made-up parts
tinted; depth; the source frame; source and result side by side; the other branch and this one side by side."""


def _is_unit(quaternion: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if not abs(math.hypot(*quaternion) - 1) < 1e-3:
        raise ValueError(f"got a length of {math.hypot(*quaternion):.3g}, expected a unit quaternion")
    return quaternion


Coordinate: TypeAlias = Annotated[float, Field(ge=-1e6, le=1e6)]
Vector: TypeAlias = tuple[Coordinate, Coordinate, Coordinate]
Quaternion: TypeAlias = Annotated[tuple[float, float, float, float], AfterValidator(_is_unit)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=2**32 - 1)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
"""Names of flights and bookmarks: safe in file names and addresses."""


class _Message(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Hello(_Message):
    """The first message. ``resume`` is the key of an earlier ``welcome``; within 30 seconds it gives back the wheel."""

    type: Literal["hello"]
    version: int
    resume: Annotated[str, Field(max_length=64)] | None = None


class Pose(_Message):
    """The driver's camera now, and how it moves: ``velocity`` in scene units a second and ``turn`` as a rotation vector
    in radians a second, both in the camera's axes. ``seq`` rises with every pose."""

    type: Literal["pose"]
    seq: Count
    position: Vector
    quaternion: Quaternion
    velocity: Vector
    turn: Vector
    follow: bool


class Time(_Message):
    """Change the source's time: its rate (1 is as filmed, 0 stands, negative runs backward), a frame to go to, or a
    number of frames to step, after which time stands."""

    type: Literal["time"]
    rate: Annotated[float, Field(ge=-4, le=4)] | None = None
    seek: Annotated[float, Field(ge=0, le=1e7)] | None = None
    step: Annotated[int, Field(ge=-100, le=100)] | None = None


class LookAt(_Message):
    """Show another layer."""

    type: Literal["view"]
    layer: Layer


class Ack(_Message):
    """A picture has been drawn; the server may send another. ``seen`` is how long the page took, in milliseconds."""

    type: Literal["ack"]
    frame: Count
    seen: Annotated[float, Field(ge=0, le=1e6)]


class UseCodec(_Message):
    """Send pictures to this page as JPEG, each by itself, or as H.264, from a key picture on; ask again for a key."""

    type: Literal["codec"]
    codec: Codec


class Record(_Message):
    """Start or stop recording the flight; delete or rename a recorded one."""

    type: Literal["record"]
    action: Literal["start", "stop", "delete", "rename"]
    name: Name | None = None
    to: Name | None = None


class Bookmark(_Message):
    """Remember the present block, pose and time under a name, or go back to one and branch from it there."""

    type: Literal["bookmark"]
    action: Literal["set", "go"]
    name: Name


class SwapBranches(_Message):
    """Go to the end of the branch that was left by going back to a bookmark; this one becomes the other."""

    type: Literal["swap"]


class Pick(_Message):
    """Ask for the point in space under a place of the picture, 0..1 from its left and top."""

    type: Literal["pick"]
    seq: Count
    x: Annotated[float, Field(ge=0, le=1)]
    y: Annotated[float, Field(ge=0, le=1)]


class Clip(_Message):
    """Make a video of what was shown in the last seconds."""

    type: Literal["clip"]


class Prompt(_Message):
    """Describe the scene by another text from the next block on (generators that read one)."""

    type: Literal["prompt"]
    text: Annotated[str, Field(max_length=MAX_PROMPT)]


class Wheel(_Message):
    """Ask to drive, or hand the wheel to the watcher who asked or has waited longest."""

    type: Literal["wheel"]
    action: Literal["take", "give"]


class Restart(_Message):
    """Start the generator again from the source, after a failure or to remove what has drifted."""

    type: Literal["restart"]


class Ping(_Message):
    """Ask for a ``pong`` with the same ``t``."""

    type: Literal["ping"]
    t: float


FromPage: TypeAlias = Annotated[
    Hello
    | Pose
    | Time
    | LookAt
    | Ack
    | UseCodec
    | Record
    | Bookmark
    | SwapBranches
    | Pick
    | Clip
    | Prompt
    | Wheel
    | Restart
    | Ping,
    Field(discriminator="type"),
]

DRIVES = (Pose, Time, LookAt, Record, Bookmark, SwapBranches, Clip, Prompt, Restart)
"""What only the driver may send."""

_FROM_PAGE: TypeAdapter[FromPage] = TypeAdapter(FromPage)


def parse(text: str) -> FromPage:
    """The message that a page sent.

    Raises:
        ValueError: it is none; one line that says where it is wrong.
    """
    try:
        return _FROM_PAGE.validate_json(text)
    except ValidationError as error:
        raise ValueError(first_error(error)) from None


def first_error(error: ValidationError) -> str:
    """The first thing that is wrong with a message, in one line: where, and what."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])[:100]
    return f"{place or 'message'}: {first['msg'][:200]}"


class _ToPage(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> str:
        return self.model_dump_json()


class SceneFacts(_ToPage):
    """What the page needs to know of the scene. ``source_path`` has one ``camera_to_world`` position a frame."""

    clip: str
    size: tuple[int, int]
    frames: int
    fps: float
    foreground: float
    focal: float
    scale: str
    source_path: list[tuple[float, float, float]]
    source_turns: list[tuple[float, float, float, float]]


class State(_ToPage):
    """Where the world is, for a page that joins: the driver's pose, and time."""

    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    follow: bool
    seq: int
    layer: str


class Control(_ToPage):
    """One row of the table of controls."""

    action: str
    keys: list[str]
    shown: str
    group: str
    help: str


class Welcome(_ToPage):
    """The answer to ``hello``. ``resume`` is this page's key for coming back."""

    type: Literal["welcome"] = "welcome"
    version: int = VERSION
    resume: str
    driver: bool
    generator: str
    reads_prompt: bool
    max_turn: float | None
    """Degrees a second beyond which the generated picture falls behind; None: no such limit."""
    can_render: bool
    codecs: list[Codec]
    """What pictures can be sent as; the first is what is sent until the page asks for another."""
    scene: SceneFacts
    state: State
    controls: list[Control]


class Status(_ToPage):
    """Five times a second while anything changes."""

    type: Literal["status"] = "status"
    display_fps: float
    generated_fps: float
    block_ms: float
    block_frames: int
    lag_ms: float
    coverage: float
    source_frame: float
    rate: float
    centre_depth: float
    generator: Literal["starting", "running", "resting", "failed", "replaying", "freed"]
    replayed: float
    recording: int
    driver: bool
    pages: int
    bookmarks: list[str]
    branches: int


class Notice(_ToPage):
    """Something to tell the person."""

    type: Literal["notice"] = "notice"
    level: Literal["info", "error"]
    text: str


class Moved(_ToPage):
    """The world has put the camera somewhere: back at a bookmark."""

    type: Literal["moved"] = "moved"
    state: State


class Picked(_ToPage):
    """The answer to ``pick``: a point in the world, or null where nothing is known."""

    type: Literal["picked"] = "picked"
    seq: int
    point: tuple[float, float, float] | None


class Flight(_ToPage):
    """One recorded flight."""

    name: str
    frames: int
    url: str
    gltf: str


class Flights(_ToPage):
    """All recorded flights, whenever one of them or its offline render (``videos.py``) changes."""

    type: Literal["flights"] = "flights"
    flights: list[Flight]


class ClipMade(_ToPage):
    """A clip of the last seconds can be downloaded."""

    type: Literal["clip"] = "clip"
    url: str
    seconds: float


class Pong(_ToPage):
    """The answer to ``ping``."""

    type: Literal["pong"] = "pong"
    t: float


class Error(_ToPage):
    """A message was not accepted."""

    type: Literal["error"] = "error"
    code: Literal["message", "rate", "not_driver", "refused", "version"]
    text: str


class Bye(_ToPage):
    """The server is about to close this connection; ``retry`` says whether coming back makes sense."""

    type: Literal["bye"] = "bye"
    reason: str
    retry: bool


ToPage: TypeAlias = Welcome | Status | Notice | Moved | Picked | Flights | ClipMade | Pong | Error | Bye
