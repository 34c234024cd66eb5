"""Writing: what is written comes back, with its times, colours and sound, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.clips import add_sound, encode, number_of, numbered, packets

from inspatio.errors import UserError
from inspatio.media import Quality, VideoReader, VideoWriter, probe

SIZE = (48, 96)


def clip(count: int, size: tuple[int, int] = SIZE, first: int = 0) -> np.ndarray:
    return np.stack([numbered(i, size) for i in range(first, first + count)])


def write(path: Path, frames: np.ndarray, rate: Fraction | int = 30, quality: Quality = "view", **options) -> Path:
    with VideoWriter(path, frames.shape[1:3], Fraction(rate), quality=quality, **options) as writer:
        for block in np.array_split(frames, max(len(frames) // 12, 1)):
            writer.write(block)
    return path


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(((a.astype(float) - b) ** 2).mean(), 1e-9)))


def stream_facts(path: Path) -> tuple[str | None, int, int, int, int]:
    with av.open(str(path)) as source:
        context = source.streams.video[0].codec_context
        return (
            context.pix_fmt,
            context.colorspace,
            context.color_range,
            context.color_primaries,
            context.color_trc,
        )


class TestRoundTrip:
    @pytest.mark.parametrize(("quality", "least"), [("view", 32), ("render", 44)])
    def test_frames_come_back(self, tmp_path: Path, quality: Quality, least: float) -> None:
        frames = clip(40)
        path = write(tmp_path / "x.mp4", frames, quality=quality)
        info = probe(path)
        assert (info.frame_count, info.frame_rate, info.size) == (40, 30, SIZE)
        with VideoReader(info) as reader:
            back = reader.read(range(40))
        assert [number_of(frame) for frame in back] == list(range(40))
        assert psnr(back, frames) > least

    @given(
        masks=hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))),
    )
    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_lossless_is_the_identity(self, tmp_path: Path, masks: np.ndarray) -> None:
        path = write(tmp_path / "mask.mp4", masks, quality="lossless")
        with VideoReader(path) as reader:
            assert np.array_equal(reader.read_masks(range(len(masks))), masks)

    def test_lossless_keeps_every_value(self, tmp_path: Path) -> None:
        masks = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16), np.full((16, 16), 255, np.uint8)])
        path = write(tmp_path / "mask.mp4", masks, quality="lossless")
        with VideoReader(path) as reader:
            assert np.array_equal(reader.read_masks([0, 1]), masks)

    def test_clean_holes(self, tmp_path: Path) -> None:
        """Black beside colour stays black in a render: no chroma bleeds into the holes."""
        frames = clip(12)
        frames[:, 10:30, 31:65] = 0
        with VideoReader(write(tmp_path / "render.mp4", frames, quality="render")) as reader:
            assert reader.read(range(12))[:, 10:30, 31:65].max() < 30
            assert reader.read(range(12))[:, 12:28, 33:63].mean() < 1

    @pytest.mark.parametrize("size", [(16, 16), (47, 95), (48, 95), (47, 96), (2, 2), (1, 1)])
    @pytest.mark.parametrize("quality", ["view", "render"])
    def test_the_very_size(self, tmp_path: Path, size: tuple[int, int], quality: Quality) -> None:
        frames = np.full((3, *size, 3), (200, 60, 20), np.uint8)
        path = write(tmp_path / "x.mp4", frames, quality=quality)
        assert probe(path).size == size
        with VideoReader(path) as reader:
            assert np.abs(reader.read(range(3)).astype(int) - frames).max() <= 6

    @pytest.mark.parametrize("count", [1, 2, 9, 21])
    def test_counts(self, tmp_path: Path, count: int) -> None:
        info = probe(write(tmp_path / "x.mp4", clip(count), rate=25))
        assert info.frame_count == count
        assert info.duration == pytest.approx(count / 25)

    @pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25), Fraction(1, 2)])
    def test_frame_rate_is_exact(self, tmp_path: Path, rate: Fraction) -> None:
        info = probe(write(tmp_path / "x.mp4", clip(20), rate=rate))
        assert info.frame_rate == rate
        assert info.timestamps() == [i / rate for i in range(20)]

    @given(steps=st.lists(st.integers(1, 300), min_size=1, max_size=20), tick=st.sampled_from([100, 600, 1000, 90000]))
    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_variable_times_are_exact(self, tmp_path: Path, steps: list[int], tick: int) -> None:
        times = [Fraction(int(t), tick) for t in np.cumsum([0, *steps])]
        info = probe(write(tmp_path / "x.mp4", np.zeros((len(times), 16, 16, 3), np.uint8), times=times))
        assert info.timestamps() == times
        assert info.duration == pytest.approx(float(times[-1]) + 1 / 30, abs=1e-4)

    def test_same_frames_same_file(self, tmp_path: Path) -> None:
        a, b = (write(tmp_path / f"{name}.mp4", clip(30)) for name in "ab")
        assert a.read_bytes() == b.read_bytes()

    def test_blocks_do_not_matter(self, tmp_path: Path) -> None:
        whole, parts = tmp_path / "whole.mp4", tmp_path / "parts.mp4"
        with VideoWriter(whole, SIZE, Fraction(30)) as writer:
            writer.write(clip(20))
        with VideoWriter(parts, SIZE, Fraction(30)) as writer:
            for first in range(20):
                writer.write(clip(1, first=first))
        assert whole.read_bytes() == parts.read_bytes()


class TestFile:
    def test_plays_everywhere(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.mp4", clip(3))
        assert stream_facts(path) == ("yuv420p", 1, 1, 1, 1), "4:2:0, tagged BT.709, limited range"
        data = path.read_bytes()
        assert 0 < data.find(b"moov") < data.find(b"mdat"), "the index comes first"

    @pytest.mark.parametrize("quality", ["view", "render"])
    def test_colours_do_not_shift(self, tmp_path: Path, quality: Quality) -> None:
        """Flat patches through writer and reader, twice over: within 3 steps of 255 each time, and no drift."""
        levels = np.array([0, 64, 128, 192, 255], np.uint8)
        chart = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
        frame = chart.reshape(5, 25, 3).repeat(32, axis=0).repeat(32, axis=1)[None]
        centre = (slice(None), slice(16, None, 32), slice(16, None, 32))
        back = frame
        for generation in (1, 2):
            with VideoReader(write(tmp_path / f"{generation}.mp4", back, quality=quality)) as reader:
                back = reader.read([0])
            error = back[centre].astype(int) - frame[centre]
            assert np.abs(error).max() <= 3 * generation
            assert np.abs(error.mean(axis=(0, 1, 2))).max() < 0.5

    def test_keeps_what_was_there_when_it_fails(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.mp4", clip(3))
        before = path.read_bytes()
        with pytest.raises(AssertionError, match="for 50 times"):
            write(path, clip(20), times=[Fraction(i, 30) for i in range(50)])
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_nothing_appears_before_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "new folder" / "x.mp4"
        with VideoWriter(path, SIZE, Fraction(30)) as writer:
            writer.write(clip(20))
            assert not path.exists()
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize(
        "frames", [np.zeros((1, 48, 90, 3), np.uint8), np.zeros((1, 48, 96), np.uint8), np.zeros((1, 48, 96, 3))]
    )
    def test_wrong_frames_are_refused(self, tmp_path: Path, frames: np.ndarray) -> None:
        with pytest.raises(AssertionError, match="expected"), VideoWriter(tmp_path / "x.mp4", SIZE, Fraction(30)) as w:
            w.write(frames)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(("given", "written"), [(3, 4), (4, 3)])
    def test_as_many_frames_as_times(self, tmp_path: Path, given: int, written: int) -> None:
        with pytest.raises(AssertionError, match="times"):
            write(tmp_path / "x.mp4", clip(written), times=[Fraction(i, 30) for i in range(given)])
        assert not list(tmp_path.iterdir())

    def test_no_frames_is_a_mistake(self, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="without a frame"):
            write(tmp_path / "x.mp4", clip(1)[:0])
        assert not list(tmp_path.iterdir())


_WRITE_NOISE = """
import resource, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from inspatio.errors import UserError
from inspatio.media import VideoWriter
path, limits = Path(sys.argv[1]), [int(limit) for limit in sys.argv[2:]]
noise = np.random.default_rng(0).integers(0, 255, (30, 96, 192, 3), dtype=np.uint8)
for limit in limits or [resource.RLIM_INFINITY]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        with VideoWriter(path, (96, 192), Fraction(30)) as writer:
            for _ in range(2):
                writer.write(noise)
    except UserError as error:
        print(error)
"""


class TestFullDisk:
    def check(self, path: Path, word: str, *limits: int) -> None:
        """Each limit fails with one line of its own that names the file, and leaves nothing."""
        command = [sys.executable, "-c", _WRITE_NOISE, path, *map(str, limits)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.stderr == ""
        lines = result.stdout.splitlines()
        assert len(lines) == max(len(limits), 1)
        assert all(line.startswith(f"{path}: ") and word in line for line in lines)
        assert not list(path.parent.iterdir())

    def test_file_size_limit(self, tmp_path: Path) -> None:
        """At the first byte, in the first frames, and after many."""
        self.check(tmp_path / "x.mp4", "ulimit", 1, 20_000, 300_000)

    def test_small_disk(self, tmp_path: Path) -> None:
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True, check=False
        ).returncode:
            pytest.skip("a small disk cannot be mounted here")
        try:
            self.check(tmp_path / "x.mp4", "disk is full")
        finally:
            subprocess.run(["umount", tmp_path], check=True)


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("sound") / "silent.mp4", 90)


class TestSound:
    def test_copied_as_it_is_and_cut(self, tmp_path: Path, silent: Path) -> None:
        source = add_sound(silent, tmp_path / "source.mp4", seconds=3)
        path = write(tmp_path / "x.mp4", clip(60), audio_from=probe(source))
        ours, theirs = packets(path, "audio"), packets(source, "audio")
        assert ours == theirs[: len(ours)], "not a bit changed"
        end = ours[-1][0] + Fraction(1024, 44100)
        assert 2 <= end < 2 + Fraction(1024, 44100)
        assert probe(path).frame_count == 60

    def test_longer_video_than_sound(self, tmp_path: Path, silent: Path) -> None:
        source = add_sound(silent, tmp_path / "source.mp4", seconds=1)
        path = write(tmp_path / "x.mp4", clip(60), audio_from=probe(source))
        assert packets(path, "audio") == packets(source, "audio")

    def test_no_sound_to_copy(self, tmp_path: Path, silent: Path) -> None:
        assert not probe(write(tmp_path / "x.mp4", clip(10), audio_from=probe(silent))).has_audio

    @pytest.mark.parametrize(("codec", "suffix"), [("pcm_s16le", ".mov"), ("flac", ".mkv"), ("mp2", ".ts")])
    def test_what_an_mp4_cannot_hold_becomes_aac(self, tmp_path: Path, silent: Path, codec: str, suffix: str) -> None:
        source = add_sound(silent, tmp_path / f"source{suffix}", codec=codec)
        path = write(tmp_path / "x.mp4", clip(60), audio_from=probe(source))
        with av.open(str(path)) as made:
            track = made.streams.audio[0]
            assert track.codec_context.name == "aac"
            wave = np.concatenate([frame.to_ndarray()[0] for frame in made.decode(track)])
        assert len(wave) / 44100 == pytest.approx(2, abs=0.06)
        middle = wave[20000:60000]
        assert np.sqrt((middle**2).mean()) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
        spectrum = np.abs(np.fft.rfft(middle))
        assert np.argmax(spectrum) * 44100 / len(middle) == pytest.approx(440, abs=3)

    @pytest.mark.parametrize("suffix", [".ts", ".mkv"])
    def test_source_that_starts_late_stays_in_step(self, tmp_path: Path, silent: Path, suffix: str) -> None:
        source = add_sound(silent, tmp_path / f"source{suffix}", shift=Fraction(5, 2))
        path = write(tmp_path / "x.mp4", clip(60), audio_from=probe(source))
        start = probe(source).start
        assert start >= 2
        for (ours, _), (theirs, _) in zip(packets(path, "audio"), packets(source, "audio"), strict=False):
            assert ours == pytest.approx(theirs - start, abs=2e-3)
        assert probe(path).duration == pytest.approx(2)

    def test_sound_keeps_pace_with_the_pictures(self, tmp_path: Path, silent: Path) -> None:
        """No second of the file holds sound or pictures only, so a player need not jump in it."""
        source = add_sound(silent, tmp_path / "source.mp4")
        path = write(tmp_path / "x.mp4", clip(90), audio_from=probe(source))
        with av.open(str(path)) as made:
            times = [(p.stream.type, float(p.dts * p.time_base)) for p in made.demux() if p.dts is not None and p.pos]
        assert all(abs(a[1] - b[1]) < 1.2 for a, b in pairwise(times))

    def test_source_that_is_gone(self, tmp_path: Path, silent: Path) -> None:
        source = probe(silent.rename(tmp_path / "source.mp4"))
        source.path.rename(silent)
        with pytest.raises(UserError, match="no such file"):
            write(tmp_path / "x.mp4", clip(3), audio_from=source)
        assert not list(tmp_path.iterdir())
