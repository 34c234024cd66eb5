"""A client for programs: frames of the live world's scene from cameras of one's own.

with RealtimeClient(url) as client:          # the address that `inspatio live` prints
    client.init(realtime_output_format="jpeg")
    client.send_poses(world_to_camera, final=True)
    for batch in client.batches(len(world_to_camera)):
        print(batch.chunk, batch.frames.shape)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import cv2
import msgpack
import numpy as np
from numpy.typing import ArrayLike
from websockets.sync.client import connect

from inspatio.errors import UserError
from inspatio.live.realtime_protocol import PATH, packed
from inspatio.types import Frames


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Some frames of one block (``t h w 3`` uint8 RGB), and the newest event that the block was made for."""

    chunk: int
    frames: Frames
    event_id: int | None


class RealtimeClient:
    """One connection to the door for programs."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        """``url`` is the printed address with its token; ``timeout``: seconds to wait for a message.

        Raises:
            websockets.exceptions.InvalidStatus: the server refuses.
        """
        parts = urlsplit(url)
        token = parse_qs(parts.query)["token"][0]
        cookie = {"Cookie": f"inspatio_{parts.port}={token}"}
        self._socket = connect(
            f"ws://{parts.netloc}{PATH}", additional_headers=cookie, compression=None, proxy=None, max_size=None
        )
        self._timeout = timeout
        self.stats: list[dict[str, Any]] = []
        """The server's timings of every block so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def init(self, **fields: Any) -> None:
        """Begin a session: ``prompt``, ``seed``, ``max_chunks``, ``realtime_output_format``, ``output_compression``."""
        self._socket.send(packed(type="init", **fields))

    def send(self, kind: str, payload: Any, event_id: int | None = None) -> None:
        """Send an event: ``camera_actions``, ``prompt``, ``composite_input``, ``heartbeat``, ``camera_poses``."""
        sent = {"client_sent_perf_ms": 1000 * time.perf_counter()}
        extra = {} if event_id is None else {"event_id": event_id}
        self._socket.send(packed(type="event", kind=kind, payload=payload, **sent, **extra))

    def send_poses(
        self,
        world_to_camera: ArrayLike,
        intrinsics: ArrayLike | None = None,
        source_frames: Sequence[int] | None = None,
        *,
        final: bool = False,
        event_id: int | None = None,
    ) -> None:
        """Ask for frames from cameras (``t 4 4``, and ``t 3 3`` in pixels of the scene's size)."""
        payload: dict[str, Any] = {"world_to_camera": np.asarray(world_to_camera).reshape(-1, 16).tolist()}
        if intrinsics is not None:
            payload["intrinsics"] = [
                [float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])] for k in np.asarray(intrinsics)
            ]
        if source_frames is not None:
            payload["source_frames"] = [int(each) for each in source_frames]
        self.send("camera_poses", {**payload, "final": final}, event_id)

    def batches(self, frames: int) -> Iterator[FrameBatch]:
        """Receive until so many frames have come.

        Raises:
            UserError: the server reports an error.
            TimeoutError: nothing comes.
        """
        got = 0
        while got < frames:
            batch = self.receive()
            if batch is not None:
                got += len(batch.frames)
                yield batch

    def receive(self) -> FrameBatch | None:
        """The next message; frames if it has some, None for a block's timings."""
        data = self._socket.recv(self._timeout)
        assert isinstance(data, bytes), "the server sends no text"
        message: dict[str, Any] = msgpack.unpackb(data)
        match message["type"]:
            case "frame_batch":
                return _frames(message, message["payload"])
            case "frame_batch_header":
                payload = self._socket.recv(self._timeout)
                assert isinstance(payload, bytes), "a header is followed by its payload"
                return _frames(message, payload)
            case "chunk_stats":
                self.stats.append(message)
                return None
            case "error":
                raise UserError(f"the server says: {message['content']}")
        raise UserError(f"got a message of type {message['type']}, expected frames. Update the client.")


def _frames(head: dict[str, Any], payload: bytes) -> FrameBatch:
    ends = np.cumsum(head["payload_lengths"]).tolist()
    parts = [payload[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    size = (head["height"], head["width"], 3)
    if head["format"] == "rgb24":
        frames = [np.frombuffer(part, np.uint8).reshape(size) for part in parts]
    else:
        frames = [cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_COLOR_RGB) for part in parts]
    return FrameBatch(head["chunk_index"], np.stack([np.asarray(each, np.uint8) for each in frames]), head["event_id"])
