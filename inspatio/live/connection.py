"""One page: what it may send and how fast, and how many pictures it is sent before it says that it has drawn them.

A page has a *credit* of pictures that it has not acknowledged yet: two, and more where its measured round trip needs
them for the display rate, at most eight; two for one that never acknowledges. A newer picture replaces one that waits.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from inspatio.errors import UserError
from inspatio.live import protocol
from inspatio.live.display import MAX_FPS, Picture
from inspatio.live.encode import H264Encoder, codecs
from inspatio.live.picture_header import CODEC_H264_DELTA, CODEC_H264_KEY, Codec
from inspatio.live.protocol import ToPage

LEAST_CREDIT, MOST_CREDIT = 2, 8
LOCAL_ROUND_TRIP = 1 / MAX_FPS
"""Seconds that two pictures cover; a longer round trip needs more."""
SILENT_SECONDS = 30.0
"""A page that has drawn nothing of what it was sent for so long is closed."""
MESSAGES_PER_SECOND, BURST = 120.0, 240.0
MAX_ERRORS = 10
WAITING_TEXTS = 64

POLICY, GOING_AWAY, TOO_BIG, TRY_LATER = 1008, 1001, 1009, 1013


class Credit:
    """How many pictures may be under way to one page."""

    def __init__(self) -> None:
        self._sent: dict[int, float] = {}
        self._round_trip: float | None = None

    @property
    def size(self) -> int:
        """The pictures that may be unacknowledged."""
        if self._round_trip is None:
            return LEAST_CREDIT
        more = math.ceil(max(0.0, self._round_trip - LOCAL_ROUND_TRIP) * MAX_FPS)
        return min(LEAST_CREDIT + more, MOST_CREDIT)

    @property
    def available(self) -> bool:
        return len(self._sent) < self.size

    def sent(self, frame: int, now: float) -> None:
        """A picture goes out."""
        self._sent[frame] = now

    def acknowledged(self, frame: int, now: float) -> bool:
        """A picture was drawn, and so were those before it; False if it had not been sent."""
        if frame not in self._sent:
            return False
        took = now - self._sent[frame]
        self._round_trip = took if self._round_trip is None else 0.8 * self._round_trip + 0.2 * took
        self._sent = {number: when for number, when in self._sent.items() if number > frame}
        return True

    def silent_for(self, now: float) -> float:
        """Seconds since the oldest picture that has not been acknowledged."""
        return now - min(self._sent.values(), default=now)


class RateLimit:
    """A bucket of tokens: so many messages a second on average, so many at once."""

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second, self._burst, self._tokens, self._last = per_second, burst, burst, now

    def take(self, now: float) -> bool:
        """Whether one more message is within the limit."""
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._per_second)
        self._last = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Connection:
    """One page's WebSocket, after it was accepted. :meth:`run` returns when it is closed."""

    def __init__(self, socket: WebSocket, handle: Callable[[Connection, protocol.FromPage], None]) -> None:
        """``handle`` gets every valid message after the page's ``hello``; a :class:`UserError` is told to the page."""
        self.socket = socket
        self.resume = ""
        self.ready = False
        self._handle = handle
        self._limit = RateLimit(MESSAGES_PER_SECOND, BURST, time.monotonic())
        self._errors = 0
        self.credit = Credit()
        self._texts: deque[str] = deque(maxlen=WAITING_TEXTS)
        self._picture: Picture | None = None
        self._encoder: H264Encoder | None = None
        self._cut = False
        self._wake = asyncio.Event()
        self._close: tuple[int, str] | None = None

    @property
    def takes_pictures(self) -> bool:
        """Whether a picture could go out now."""
        return self.ready and self._picture is None and self.credit.available

    def tell(self, message: ToPage) -> None:
        """Send a message, after those that wait. Where too many wait, the oldest is dropped."""
        if self._close is None:
            self._texts.append(message.to_json())
            self._wake.set()

    def show(self, picture: Picture) -> None:
        """Send a picture as soon as there is credit; it replaces one that waits."""
        self._picture = picture
        self._cut |= picture.cut
        self._wake.set()

    def use(self, codec: Codec, size: tuple[int, int]) -> None:
        """Send pictures of this (height, width) as JPEG, or as H.264 from a key picture on.

        Raises:
            UserError: pictures of this size cannot be sent so.
        """
        if codec not in codecs(size):
            raise UserError(f"got the codec {codec}, expected {' or '.join(codecs(size))}. Stay with JPEG.")
        self._encoder = H264Encoder(size) if codec == "h264" else None

    def close(self, code: int, reason: str, retry: bool = False) -> None:
        """Say goodbye and close."""
        if self._close is None:
            self._texts.append(protocol.Bye(reason=reason, retry=retry).to_json())
            self._close = (code, reason)
            self._wake.set()

    async def run(self) -> None:
        """Send and receive until either side closes."""
        tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if self._close is not None and self.socket.application_state == WebSocketState.CONNECTED:
            await self.socket.close(*self._close)
        for task in done:
            error = task.exception()
            if error is not None and not isinstance(error, (WebSocketDisconnect, RuntimeError, OSError)):
                raise error

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._texts:
                await self.socket.send_text(self._texts.popleft())
            if self._close is not None:
                await self.socket.close(*self._close)
                return
            if self._picture is not None and self.credit.available:
                picture, self._picture = self._picture, None
                self.credit.sent(picture.header.frame, time.monotonic())
                await self.socket.send_bytes(await self._packed(picture))

    async def _packed(self, picture: Picture) -> bytes:
        """The picture as it goes out. What is encoded is sent, in this order, so that every delta can be decoded."""
        encoder, cut, self._cut = self._encoder, self._cut, False
        if encoder is None:
            return picture.header.pack() + picture.jpeg
        data, key = await asyncio.to_thread(encoder.encode, picture.image, key=cut)
        return replace(picture.header, codec=CODEC_H264_KEY if key else CODEC_H264_DELTA).pack() + data

    async def _receive(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            now = time.monotonic()
            text = message.get("text")
            if len(text or message.get("bytes") or "") > protocol.MAX_MESSAGE:
                self.close(TOO_BIG, "the message is too long")
            elif not self._limit.take(now):
                self._refuse("rate", f"got more than {MESSAGES_PER_SECOND:g} messages a second, expected fewer")
            elif text is None:
                self._refuse("message", "got a binary message, expected JSON text")
            else:
                self._take(text, now)
            if self._errors >= MAX_ERRORS:
                self.close(POLICY, "too many messages that could not be accepted")

    def _take(self, text: str, now: float) -> None:
        try:
            message = protocol.parse(text)
        except ValueError as error:
            self._refuse("message", str(error))
            return
        if isinstance(message, protocol.Ack):
            if self.credit.acknowledged(message.frame, now):
                self._wake.set()
                self._handle(self, message)
            return
        if not self.ready and not isinstance(message, protocol.Hello):
            self._refuse("message", f"got {message.type} first, expected hello")
            return
        try:
            self._handle(self, message)
        except UserError as error:
            self.tell(protocol.Error(code="refused", text=str(error)))

    def _refuse(self, code: str, text: str) -> None:
        self._errors += 1
        self.tell(protocol.Error.model_validate({"code": code, "text": text}))
