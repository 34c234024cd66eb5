"""The downloader against a hub on this machine: it asks first, continues, checks, and fetches no code."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.paths import ROOT

from inspatio.models.checkpoints import CHECKPOINTS, MIT, Checkpoint, WeightFile
from inspatio.pipeline import download

BIG = bytes(range(256)) * 4000


class Hub:
    """Files by path, and what was asked for; ``breaks_after`` cuts every answer short once."""

    def __init__(self) -> None:
        self.files = {"config.json": b"{}", "model.safetensors": BIG, "extra.safetensors": b"x", "code.py": b"evil()"}
        self.oid = hashlib.sha256(BIG).hexdigest()
        self.ranges: list[str | None] = []
        self.tokens: list[str | None] = []
        self.breaks_after: int | None = None

    def tree(self) -> list[dict[str, object]]:
        entries: list[dict[str, object]] = [{"type": "directory", "path": "google"}]
        for path, content in self.files.items():
            entry: dict[str, object] = {"type": "file", "path": path, "size": len(content)}
            if content is BIG:
                entry["lfs"] = {"oid": self.oid, "size": len(BIG)}
            entries.append(entry)
        return entries


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.tokens.append(self.headers["Authorization"])
            if self.path.startswith("/api/"):
                self.answer(200, json.dumps(hub.tree()).encode())
                return
            content = hub.files.get(self.path.split("/resolve/main/")[-1])
            if content is None:
                self.answer(404, b"")
                return
            wanted = self.headers["Range"]
            hub.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.answer(206 if wanted else 200, content[start:])

        def answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if hub.breaks_after is not None and status != 404 and len(content) > hub.breaks_after:
                content, hub.breaks_after = content[: hub.breaks_after], None
                self.close_connection = True
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(download, "HUB", f"http://127.0.0.1:{server.server_port}")
    files = tuple(WeightFile(name) for name in ("config.json", "model.*", "*.py"))
    row = Checkpoint("DA3", "da3", "a test", "", MIT, files, repository="someone/DA3")
    monkeypatch.setitem(CHECKPOINTS, "DA3", row)
    yield hub
    server.shutdown()


def test_fetches_what_is_chosen_and_no_code(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download.main(["DA3", "--yes", "--folder", str(tmp_path)]) == 0
    assert {path.name for path in (tmp_path / "DA3").iterdir()} == {"config.json", "model.safetensors"}
    assert (tmp_path / "DA3" / "model.safetensors").read_bytes() == BIG
    shown = capsys.readouterr().out
    assert "licence: MIT" in shown
    assert "1.02 MB" in shown
    requests = len(hub.ranges)
    assert download.main(["DA3", "--yes", "--folder", str(tmp_path)]) == 0
    assert len(hub.ranges) == requests  # all there: nothing is fetched again


def test_nothing_is_fetched_without_a_yes(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115
    assert download.main(["DA3", "--folder", str(tmp_path)]) == 1
    assert hub.ranges == []
    assert not list(tmp_path.iterdir())


def test_continues_where_it_broke_off(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.files = {"config.json": b"{}", "model.safetensors": BIG}
    part = tmp_path / "DA3" / "model.safetensors.part"
    part.parent.mkdir()
    part.write_bytes(BIG[:1000])
    hub.breaks_after = 500_000
    assert download.main(["DA3", "--yes", "--folder", str(tmp_path)]) == 1
    assert "run the same command again" in capsys.readouterr().err
    assert not (tmp_path / "DA3" / "model.safetensors").exists()
    assert part.stat().st_size == 501_000
    assert download.main(["DA3", "--yes", "--folder", str(tmp_path)]) == 0
    assert hub.ranges == [None, "bytes=1000-", "bytes=501000-"]
    assert (tmp_path / "DA3" / "model.safetensors").read_bytes() == BIG
    assert not part.exists()


def test_a_wrong_checksum_leaves_nothing(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.oid = "0" * 64
    assert download.main(["DA3", "--yes", "--folder", str(tmp_path)]) == 1
    assert "SHA-256 mismatch" in capsys.readouterr().err
    assert not list((tmp_path / "DA3").glob("model*"))


def test_a_file_that_moved(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del hub.files["config.json"]
    assert download.main(["DA3", "--yes", "--folder", str(tmp_path)]) == 1
    assert "does not list config.json" in capsys.readouterr().err


def test_a_list_cannot_reach_outside_the_folder(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"config.json": b"{}", "model.safetensors": BIG, "../model.safetensors": b"x", "model.py": b"x"}
    assert not download.chosen("../model.safetensors", ["*"])
    assert not download.chosen("/etc/model.safetensors", ["*"])
    assert download.main(["DA3", "--yes", "--folder", str(tmp_path / "in")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_token_goes_to_the_hub_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert download.main(["DA3", "--yes", "--folder", str(tmp_path)]) == 0
    assert set(hub.tokens) == {"Bearer secret"}
    assert "Authorization" not in download.headers("https://raw.githubusercontent.com/x")
    assert "Authorization" not in download.headers(download.HUB + ".evil.org/x")


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(download, "HUB", "http://127.0.0.1:9")
    assert download.main(["DA3", "--yes", "--folder", str(tmp_path)]) == 1
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--profile", "inference_1.3b", "--dry_run"], 0, "NOT FOR COMMERCIAL USE"),
        (["taehv", "--dry_run", "--folder", "elsewhere"], 0, "elsewhere/taehv/taew2_1.pth"),
        (["--profile", "preview"], 0, "needs no weights"),
        (["InSpatio-World-14B"], 0, "no public source is known"),
        (["nonsense"], 2, "no weights named nonsense"),
        ([], 2, "give names, or --profile"),
        (["--profile", "nonsense"], 2, "inference_1.3b"),
    ],
)
def test_command_line(arguments: list[str], status: int, said: str) -> None:
    """Through the shell script, as it is called."""
    run = subprocess.run(
        ["bash", str(ROOT / "scripts" / "download.sh"), *arguments], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == status, run.stderr
    assert said in run.stdout + run.stderr
