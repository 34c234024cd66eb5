"""The messages of the door for programs: those of SGLang's ``/v1/realtime_video/generate``, and ``camera_poses``.

Every message is a binary msgpack map, but for the raw payload that follows a ``frame_batch_header``. The scene is the
server's clip, so pictures to start from are refused; what only steers SGLang's own models is accepted without effect
(:data:`WITHOUT_EFFECT`). One item of ``camera_actions`` and one pose of ``camera_poses`` is one frame.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgpack
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from inspatio.live.protocol import MAX_PROMPT

PATH = "/v1/realtime_video/generate"
MAX_REALTIME_MESSAGE = 2**20
"""Bytes of the longest message that a program may send."""
MAX_ITEMS = 4096
"""Frames that a program may ask for at once, and that may wait."""
WITHOUT_EFFECT = frozenset(
    (
        "fps",
        "num_frames",
        "guidance_scale",
        "num_inference_steps",
        "negative_prompt",
        "realtime_output_pacing",
        "realtime_preview_max_width",
        "realtime_causal_sink_size",
        "realtime_causal_kv_cache_num_frames",
    )
)

Action: TypeAlias = Literal["w", "a", "s", "d", "i", "j", "k", "l"]
"""w a s d fly forward, left, back, right; i k look up and down, j l left and right."""
Number: TypeAlias = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Matrix: TypeAlias = Annotated[list[Number], Field(min_length=16, max_length=16)]


class _Part(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Init(_Part):
    """The first message. ``size`` must be the scene's, ``model`` the server's profile, where they are given."""

    type: Literal["init"]
    prompt: Annotated[str, Field(max_length=MAX_PROMPT)] = ""
    model: str | None = None
    size: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    max_chunks: Annotated[int, Field(ge=1)] | None = None
    realtime_output_format: Literal["raw", "jpeg", "webp"] = "raw"
    output_compression: Annotated[int, Field(ge=1, le=100)] | None = None


class Transition(_Part):
    actions: Annotated[list[Action], Field(max_length=8)]
    client_ts_ms: float = 0.0


class ActionState(_Part):
    """Keys that are held from now on: the last transition counts, for every frame until another state comes."""

    mode: Literal["state"]
    transitions: Annotated[list[Transition], Field(min_length=1, max_length=512)]


Actions: TypeAlias = (
    ActionState | Annotated[list[Annotated[list[Action], Field(max_length=8)]], Field(max_length=MAX_ITEMS)]
)
"""Keys that are held, or a script: the keys of one frame after another."""


class Composite(_Part):
    input_types: list[Literal["camera_actions", "prompt"]] = []
    camera_actions: Actions | None = None
    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)] | None = None


class CameraPoses(_Part):
    """Cameras to be generated, one a frame: ``world_to_camera`` 4x4 row by row, in the scene's unit and the world of
    the first source camera; ``intrinsics`` fx fy cx cy in pixels of the scene's size (the scene's own where they are
    left out); ``source_frames`` what the source shows (it plays on where they are left out). ``final``: no more will
    come, so a block that is not full is completed by holding the last camera, and only what was asked for is sent.
    """

    world_to_camera: Annotated[list[Matrix], Field(min_length=1, max_length=MAX_ITEMS)]
    intrinsics: Annotated[list[Annotated[list[Number], Field(min_length=4, max_length=4)]], Field()] | None = None
    source_frames: list[Annotated[int, Field(ge=0)]] | None = None
    final: bool = False


class _Event(_Part):
    type: Literal["event"]
    event_id: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    client_sent_perf_ms: float | None = None
    client_sent_epoch_ms: float | None = None


class ActionsEvent(_Event):
    kind: Literal["camera_actions"]
    payload: Actions


class PosesEvent(_Event):
    kind: Literal["camera_poses"]
    payload: CameraPoses


class PromptEvent(_Event):
    kind: Literal["prompt"]
    payload: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]


class CompositeEvent(_Event):
    kind: Literal["composite_input"]
    payload: Composite


class HeartbeatEvent(_Event):
    kind: Literal["heartbeat"]
    payload: Any = None


Event: TypeAlias = Annotated[
    ActionsEvent | PosesEvent | PromptEvent | CompositeEvent | HeartbeatEvent, Field(discriminator="kind")
]
_INIT: TypeAdapter[Init] = TypeAdapter(Init)
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse_init(data: bytes) -> Init:
    """The first message of a program.

    Raises:
        ValueError: it is none; one line that says where it is wrong.
    """
    message = _unpacked(data)
    return _checked(_INIT, {name: value for name, value in message.items() if name not in WITHOUT_EFFECT})


def parse_event(data: bytes) -> Event:
    """A later message of a program.

    Raises:
        ValueError: it is none; one line that says where it is wrong.
    """
    return _checked(_EVENT, _unpacked(data))


def packed(**message: Any) -> bytes:
    """A message as msgpack."""
    data = msgpack.packb(message)
    assert data is not None, "without a file it returns the bytes"
    return data


def _unpacked(data: bytes) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(data)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise ValueError(f"message: got no msgpack ({type(error).__name__}), expected a map") from None
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise ValueError(f"message: got {type(message).__name__}, expected a map with names")
    return message


def _checked(adapter: TypeAdapter[Any], message: dict[str, Any]) -> Any:
    try:
        return adapter.validate_python(message)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:100]
        raise ValueError(f"{place or 'message'}: {first['msg'][:200]}") from None
