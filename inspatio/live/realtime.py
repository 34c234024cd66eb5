"""The door for programs: a session of its own on the server's scene, driven by messages (``realtime_protocol.py``).

One program at a time. Its session shares the generator with the page's, block by block, and the pages go on; a
generator on a GPU holds the caches of both. Frames are sent in the order they were asked for, in whole blocks, and the
next block is not begun before the last one has been taken off the socket's hands.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation
from starlette.websockets import WebSocket, WebSocketDisconnect

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import compose, invert
from inspatio.cameras.timeline import bounced
from inspatio.live import realtime_protocol as messages
from inspatio.live.connection import POLICY, TRY_LATER
from inspatio.live.generation import start_live
from inspatio.live.motion import clamped
from inspatio.live.realtime_protocol import MAX_ITEMS, packed
from inspatio.live.world import World
from inspatio.types import CameraToWorld, Frames, Image, Intrinsics

PATIENCE = 60.0
"""Seconds without a message, or in which a program takes nothing that is sent, after which it is closed."""
MAX_ERRORS = 10
INLINE_BYTES = 65536
"""A smaller payload is in the message, a larger one follows it."""
RAW_FRAMES, ENCODED_FRAMES = 16, 6
"""Frames in one message."""
QUALITY = {"jpeg": 95, "webp": 90}
SPEED = 0.35
"""Foreground depths a second that an action flies."""
TURN = 18.0
"""Degrees a second that an action turns."""

_STILL = (0, 0, 0)
_MOVES = {"w": (0, 0, 1), "s": (0, 0, -1), "a": (-1, 0, 0), "d": (1, 0, 0)}
_TURNS = {"i": (1, 0, 0), "k": (-1, 0, 0), "j": (0, -1, 0), "l": (0, 1, 0)}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Item:
    """One frame that was asked for; ``event_id`` is that of the message."""

    camera_to_world: CameraToWorld
    intrinsics: Intrinsics
    source_frame: int
    event_id: int | None


class _Path:
    """Turns what a program sends into cameras and source frames, one a frame."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.waiting: deque[_Item] = deque()
        self.held: tuple[str, ...] = ()
        self.final = False
        self.event_id: int | None = None
        self._pose = np.eye(4)
        self._place = 0

    def take(self, event: messages.Event) -> str | None:
        """Queue what an event asks for; returns the prompt that it has.

        Raises:
            ValueError: it asks for too much, or for what is no camera.
        """
        if event.event_id is not None:
            self.event_id = event.event_id
        match event:
            case messages.ActionsEvent():
                self._act(event.payload)
            case messages.PosesEvent():
                self._pose_each(event.payload)
            case messages.PromptEvent():
                return event.payload
            case messages.CompositeEvent():
                if event.payload.camera_actions is not None:
                    self._act(event.payload.camera_actions)
                return event.payload.prompt
            case messages.HeartbeatEvent():
                pass
        return None

    def next_block(self, count: int) -> tuple[list[_Item], int] | None:
        """The next ``count`` frames and how many of them were asked for; None where that is not a block yet.

        A script that does not fill a block is completed by holding the last camera, as final poses are; other poses
        wait for more.
        """
        if self.held:
            while len(self.waiting) < count:
                self._queue(self._moved(self.held), None, None)
        asked = min(len(self.waiting), count)
        if asked == 0 or (asked < count and not self.final):
            return None
        items = [self.waiting.popleft() for _ in range(asked)]
        return items + [items[-1]] * (count - asked), asked

    def _act(self, actions: messages.Actions) -> None:
        if isinstance(actions, messages.ActionState):
            self.held = tuple(actions.transitions[-1].actions)
            return
        self._check(len(actions))
        for keys in actions:
            self._queue(self._moved(tuple(keys)), None, None)
        self.final = True  # a script does not wait for more

    def _pose_each(self, given: messages.CameraPoses) -> None:
        count = len(given.world_to_camera)
        self._check(count)
        for name, values in (("intrinsics", given.intrinsics), ("source_frames", given.source_frames)):
            if values is not None and len(values) != count:
                raise ValueError(f"{name}: got {len(values)} entries, expected one a pose ({count})")
        poses = np.array(given.world_to_camera).reshape(count, 4, 4)
        rotations = poses[:, :3, :3]
        rigid = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max() < 1e-3
        if not (rigid and (np.linalg.det(rotations) > 0).all() and np.allclose(poses[:, 3], [0, 0, 0, 1])):
            raise ValueError("world_to_camera: got a matrix that is no rotation and translation, expected 4x4 poses")
        for i, pose in enumerate(invert(poses)):
            intrinsics = None
            if given.intrinsics is not None:
                fx, fy, cx, cy = given.intrinsics[i]
                if fx <= 0 or fy <= 0:
                    raise ValueError(f"intrinsics: got focal lengths {fx:g} and {fy:g}, expected them above 0")
                intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
            self._queue(pose, intrinsics, None if given.source_frames is None else given.source_frames[i])
        self.final = given.final

    def _check(self, count: int) -> None:
        if len(self.waiting) + count > MAX_ITEMS:
            raise ValueError(f"got {len(self.waiting) + count} frames that wait, expected at most {MAX_ITEMS}")

    def _queue(self, pose: CameraToWorld, intrinsics: Intrinsics | None, source_frame: int | None) -> None:
        count = len(self._world.scene.frames)
        source = bounced(self._place if source_frame is None else source_frame, count)
        self._place = source + 1 if source_frame is not None else self._place + 1
        self._pose = clamped(pose, self._world.source_centres, self._world.foreground)
        chosen = self._world.intrinsics if intrinsics is None else intrinsics
        self.waiting.append(_Item(self._pose, chosen, source, self.event_id))

    def _moved(self, keys: tuple[str, ...]) -> CameraToWorld:
        move = np.sum([_MOVES.get(key, _STILL) for key in keys] or [_STILL], axis=0)
        turn = np.sum([_TURNS.get(key, _STILL) for key in keys] or [_STILL], axis=0)
        move = move * SPEED * self._world.foreground / self._world.frame_rate
        turn = turn * np.deg2rad(TURN / self._world.frame_rate)
        rotation = self._pose[:3, :3]
        yaw, pitch = (Rotation.from_euler(axis, angle).as_matrix() for axis, angle in (("y", turn[1]), ("x", turn[0])))
        return compose(yaw @ rotation @ pitch, self._pose[:3, 3] + rotation @ move)


class RealtimeDoor:
    """Lets one program in at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._busy = False

    async def serve(self, socket: WebSocket) -> None:
        """Serve one program until it is gone."""
        await socket.accept()
        if self._busy:
            await socket.close(TRY_LATER, "another program is served")
            return
        self._busy = True
        pool = ThreadPoolExecutor(1, thread_name_prefix="inspatio-realtime")
        try:
            await _Program(self._world, socket, pool).run()
        except (WebSocketDisconnect, RuntimeError, OSError):
            pass  # the program has gone
        finally:
            pool.shutdown(wait=False)
            self._busy = False


class _Program:
    """One program's connection."""

    def __init__(self, world: World, socket: WebSocket, pool: ThreadPoolExecutor) -> None:
        self._world, self._socket, self._pool = world, socket, pool
        self._path = _Path(world)
        self._prompt: str | None = None
        self._errors = 0
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()
        self._request = f"{time.time_ns():x}"

    async def run(self) -> None:
        init = await self._init()
        if init is None:
            return
        receiving = asyncio.create_task(self._receive())
        generating = asyncio.create_task(self._generate(init))
        done, pending = await asyncio.wait({receiving, generating}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(receiving, generating, return_exceptions=True)  # both, so that no failure is left unread
        code, reason = done.pop().result()
        await self._socket.close(code, reason)

    async def _init(self) -> messages.Init | None:
        scene, options = self._world.scene, self._world.options
        size = f"{scene.size[1]}x{scene.size[0]}"
        while True:
            data = await self._next_message()
            if data is None:
                return None
            try:
                init = messages.parse_init(data)
                if init.size not in (None, size):
                    raise ValueError(f"size: got {init.size}, expected {size}, the scene's")
                if init.model not in (None, options.name):
                    raise ValueError(f"model: got {init.model}, expected {options.name}")
            except ValueError as error:
                if not await self._refuse(error):
                    await self._socket.close(POLICY, "too many messages that could not be accepted")
                    return None
                continue
            return init

    async def _receive(self) -> tuple[int, str]:
        while True:
            data = await self._next_message()
            if data is None:
                return 1000, "no message came for too long"
            try:
                prompt = self._path.take(messages.parse_event(data))
                self._prompt = prompt if prompt is not None else self._prompt
                self._news.set()
            except ValueError as error:
                if not await self._refuse(error):
                    return POLICY, "too many messages that could not be accepted"

    async def _next_message(self) -> bytes | None:
        """The next binary message; None where none comes for too long. Text is refused by what reads it."""
        try:
            message = await asyncio.wait_for(self._socket.receive(), PATIENCE)
        except TimeoutError:
            return None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        return message.get("bytes") or b""

    async def _refuse(self, error: ValueError) -> bool:
        """Tell what was wrong; False where it was one time too many."""
        self._errors += 1
        await self._send(packed(type="error", content=str(error)))
        return self._errors < MAX_ERRORS

    async def _generate(self, init: messages.Init) -> tuple[int, str]:
        run = asyncio.get_running_loop().run_in_executor
        world = self._world
        with_prompt = init.prompt or None

        def start():
            with world.generation.turn:
                return start_live(world.generation.generator, world.scene, init.seed)

        session, timeline = await run(self._pool, start)
        chunk = 0
        while init.max_chunks is None or chunk < init.max_chunks:
            self._news.clear()
            block = self._path.next_block(session.block_frames)
            if block is None:
                await self._news.wait()
                continue
            items, asked = block
            prompt, self._prompt = self._prompt or with_prompt, None
            with_prompt = None

            def step(items=items, asked=asked, prompt=prompt) -> Frames:
                cameras = Cameras(
                    np.stack([each.intrinsics for each in items]),
                    invert(np.stack([each.camera_to_world for each in items])),
                )
                with world.generation.turn:
                    if prompt is not None:
                        session.set_prompt(prompt)
                    timeline.append([each.source_frame for each in items])
                    return session.step(cameras).frames[:asked].cpu().numpy()

            began = time.perf_counter()
            try:
                frames = await run(self._pool, step)
            except Exception as error:  # noqa: BLE001
                # Whatever a generator raises ends this session alone; the program is told.
                _log.exception("a program's session failed")
                await self._send(packed(type="error", content=f"{type(error).__name__}: {error}"[:300]))
                return POLICY, "the session failed"
            made = time.perf_counter()
            count, size = await self._send_frames(chunk, items[asked - 1].event_id, frames, init)
            await self._send(
                packed(
                    type="chunk_stats",
                    request_id=self._request,
                    chunk_index=chunk,
                    event_id=items[asked - 1].event_id,
                    scheduler_forward_ms=1000 * (made - began),
                    ws_write_ms=1000 * (time.perf_counter() - made),
                    chunk_total_ms=1000 * (time.perf_counter() - began),
                    num_batches=count,
                    num_frames=asked,
                    raw_bytes=frames.nbytes,
                    ws_payload_bytes=size,
                    content_type=_content_type(init),
                )
            )
            chunk += 1
        return 1000, "generation complete"

    async def _send_frames(
        self, chunk: int, event_id: int | None, frames: Frames, init: messages.Init
    ) -> tuple[int, int]:
        """Send a block's frames; returns the number of messages and of bytes in their payloads."""
        kind = init.realtime_output_format
        batch = RAW_FRAMES if kind == "raw" else ENCODED_FRAMES
        parts = [frames[i : i + batch] for i in range(0, len(frames), batch)]
        height, width = frames.shape[1:3]
        total = 0
        for number, part in enumerate(parts):
            coded = [each.tobytes() for each in part] if kind == "raw" else list(_encoded(part, init))
            payload = b"".join(coded)
            total += len(payload)
            head = {
                "request_id": self._request,
                "chunk_index": chunk,
                "content_type": _content_type(init),
                "num_frames": len(part),
                "total_size": len(payload),
                "frame_batch_index": number,
                "num_frame_batches": len(parts),
                "is_final_frame_batch": number == len(parts) - 1,
                "event_id": event_id,
                "format": "rgb24" if kind == "raw" else kind,
                "width": width,
                "height": height,
                "channels": 3,
                "payload_lengths": [len(each) for each in coded],
            }
            head |= {"bytes_per_frame": height * width * 3} if kind == "raw" else {"encoding": kind}
            if len(payload) < INLINE_BYTES:
                await self._send(packed(type="frame_batch", **head, payload=payload))
            else:
                await self._send(packed(type="frame_batch_header", **head), payload)
        return len(parts), total

    async def _send(self, *data: bytes) -> None:
        async with self._sending:
            for each in data:
                await asyncio.wait_for(self._socket.send_bytes(each), PATIENCE)


def _content_type(init: messages.Init) -> str:
    kind = init.realtime_output_format
    return "application/octet-stream" if kind == "raw" else f"image/{kind}"


def _encoded(frames: Frames, init: messages.Init) -> Iterator[bytes]:
    kind = init.realtime_output_format
    flag = cv2.IMWRITE_JPEG_QUALITY if kind == "jpeg" else cv2.IMWRITE_WEBP_QUALITY
    for frame in frames:
        yield _encode(frame, f".{kind}", [flag, init.output_compression or QUALITY[kind]])


def _encode(frame: Image, suffix: str, options: list[int]) -> bytes:
    encoded, data = cv2.imencode(suffix, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    assert encoded, "any picture of 8 bits can be encoded"
    return data.tobytes()
