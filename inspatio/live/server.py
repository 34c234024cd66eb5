"""Serve a live world: bind the address, make a token, run until a signal, and leave nothing half done."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from inspatio.errors import UsageError
from inspatio.live.app import make_app
from inspatio.live.hub import Hub
from inspatio.live.realtime_protocol import MAX_REALTIME_MESSAGE

_log = logging.getLogger(__name__)

THREADS = "inspatio-"
"""How the names of the live world's threads begin."""
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True)
class Address:
    """Where to listen. ``names`` are further names that requests may address the server by."""

    host: str = "127.0.0.1"
    port: int = 8765
    names: Sequence[str] = ()
    browser: bool = True
    max_session: float | None = None
    """Minutes after which the server ends."""


def bind(address: Address) -> socket.socket:
    """A listening socket.

    Raises:
        UsageError: the port is taken, or the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address.host, address.port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise UsageError(
            f"--host {address.host} --port {address.port}: cannot listen there ({error.strerror}). "
            "Choose another port, or --port 0 for any free one."
        ) from None
    return bound


class LiveServer:
    """Serves a world on a bound socket. ``url`` has the token that lets a browser in."""

    def __init__(self, hub: Hub, address: Address, bound: socket.socket, clips: Path) -> None:
        """``clips`` is the folder that the world writes clips of the last seconds to."""
        host, port = bound.getsockname()[:2]
        token = secrets.token_urlsafe(32)
        names = LOOPBACK_NAMES | {name.lower() for name in address.names}
        if not is_loopback(address.host):
            names |= {f"[{host}]" if ":" in host else host, socket.gethostname().lower()}
        app = make_app(hub, token=token, hosts=names, port=port, clips=clips)
        config = uvicorn.Config(
            app,
            log_config=None,  # no access log: it would hold the token
            access_log=False,
            server_header=False,
            ws="websockets-sansio",
            ws_max_size=MAX_REALTIME_MESSAGE,  # pages have a smaller one (connection.py)
            ws_per_message_deflate=False,
            ws_ping_interval=5,
            ws_ping_timeout=10,
            limit_concurrency=64,
            timeout_graceful_shutdown=1,
        )
        self._address, self._bound = address, bound
        self._server = _Server(config, hub)
        shown = "localhost" if is_loopback(address.host) else address.host
        self.url = f"http://{shown}:{port}/?token={token}"

    def run(self) -> None:
        """Serve until a signal, :meth:`stop` or the longest session."""
        if self._address.browser:
            threading.Thread(target=self._open_browser, daemon=True).start()
        if self._address.max_session is not None:
            timer = threading.Timer(self._address.max_session * 60, self.stop)
            timer.daemon = True
            timer.start()
        self._server.run(sockets=[self._bound])

    def stop(self) -> None:
        """End :meth:`run`, from any thread."""
        self._server.should_exit = True

    def _open_browser(self) -> None:
        while not self._server.started:
            time.sleep(0.05)
        if not webbrowser.open(self.url):
            _log.warning("no browser could be opened; open the address above")


def leave_if_busy(within: float) -> None:
    """Wait for the live world's threads to end, and end the process where one does not; call it after everything else.

    A thread cannot be stopped inside a block or a compilation. Python would wait for it at its own end, or abort where
    it comes back from native code then.
    """
    end = time.monotonic() + within
    threads = [each for each in threading.enumerate() if each.name.startswith(THREADS)]
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """Closes the pages with "going away" and the world before the sockets are torn down."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._hub.stop()
        await super().shutdown(sockets)
