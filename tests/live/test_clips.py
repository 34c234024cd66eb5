"""The last seconds as a video: what was shown, and the source's sound where time ran as filmed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from support.clips import write_clip
from support.live import FakeGenerator, Page, served
from support.scenes import noise_scene

from inspatio.live.clips import SOUND_RATE, LastSeconds
from inspatio.live.clock import Run
from inspatio.live.encode import encode_jpeg
from inspatio.media import VideoInfo, VideoWriter, probe
from inspatio.media.audio import Samples, read_samples

FRAMES, FPS = 72, 24


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    """Three seconds whose loudness rises from silence, so that a sample says when it was."""
    folder = tmp_path_factory.mktemp("clip")
    rising = (np.linspace(0, 20000, 3 * SOUND_RATE) * np.sin(np.arange(3 * SOUND_RATE) * 0.1)).astype(np.int16)
    with VideoWriter(folder / "x.mp4", (32, 48), probe(write_clip(folder / "r.mp4", 2)).frame_rate,
                     audio_from=Samples(np.stack([rising, rising], 1), SOUND_RATE)) as writer:  # fmt: skip
        writer.write(np.zeros((FRAMES, 32, 48, 3), np.uint8))
    return probe(folder / "x.mp4")


def loudness(path: Path) -> np.ndarray:
    """The peak of every 50 ms of a video's sound, as the second of the source that is so loud."""
    info = probe(path)
    if not info.has_audio:
        return np.zeros(0)
    count = round(info.duration * SOUND_RATE)
    values = np.abs(read_samples(info, 0.0, count, SOUND_RATE)[:, 0].astype(float))
    return values[: count // 2400 * 2400].reshape(-1, 2400).max(1) / 20000 * 3


def kept(seconds: float, begin: float = 100.0) -> LastSeconds:
    last = LastSeconds((32, 48))
    for i in range(round(seconds * FPS) + 1):
        last.add(begin + i / FPS, encode_jpeg(np.full((32, 48, 3), i % 256, np.uint8)))
    return last


def test_sound_is_where_time_ran_and_in_time(tmp_path: Path, source: VideoInfo):
    """Half a second of silence, one from the source's first second on, then silence again."""
    name, seconds = kept(2.0).save(tmp_path, FPS, source, lambda start, end: [Run(start + 0.5, 1.0, 24.0)])
    assert seconds == pytest.approx(2.0)
    heard = loudness(tmp_path / name)
    assert heard[:9].max() < 0.05
    assert heard[31:].max() < 0.05
    during = heard[11:29]
    expected = 1.0 + (np.arange(11, 29) + 1) * 0.05 - 0.5
    assert np.abs(during - expected).max() < 0.06


def test_no_sound_where_time_stood_or_the_source_has_none(tmp_path: Path, source: VideoInfo):
    name, _ = kept(1.0).save(tmp_path, FPS, source, lambda start, end: [])
    assert not probe(tmp_path / name).has_audio
    silent = probe(write_clip(tmp_path / "silent.mp4", 24))
    name, _ = kept(1.0).save(tmp_path, FPS, silent, lambda start, end: [Run(start, 1.0, 0.0)])
    assert not probe(tmp_path / name).has_audio


def fly(page: Page, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page.picture(page.pose((0.001 * page.seq + 0.001, 0.0, 0.0)))


def test_the_last_seconds_from_the_page(tmp_path: Path, source: VideoInfo):
    """First time stands, and the clip has no sound; then it runs, and the sound is that of the frames shown."""
    with served(noise_scene(FRAMES), FakeGenerator(), tmp_path, sound=source) as live, live.page() as page:
        fly(page, 0.4)
        page.send("clip")
        first = page.wait("clip")
        assert live.get("/" + first["url"]).body[4:8] == b"ftyp"
        page.send("time", rate=1)
        fly(page, 1.2)
        page.send("clip")
        second = page.wait("clip")
    assert not probe(tmp_path / first["url"]).has_audio
    heard = loudness(tmp_path / second["url"])
    assert len(heard) * 0.05 == pytest.approx(second["seconds"], abs=0.1)
    running = heard[-16:-2]
    assert np.allclose(np.diff(running), 0.05, atol=0.04), "it goes on as filmed"
    assert running[-1] > 0.7
