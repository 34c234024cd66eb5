"""Source latents on disk: exact, whole or not there, bounded, and never in the way of a clip."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.networks import make_generator
from support.scenes import ArraySource, frames_of, noise_scene, sideways, targets

from inspatio.models.wan.taehv import TaeEncoder
from inspatio.models.wan.vae import WanEncoder
from inspatio.pipeline import source_latents
from inspatio.pipeline.source_latents import SourceLatents

MADE_FROM = {"source": "a video"}


def latents(value: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.full((1, 3, 16, 2, 4), value, dtype=dtype)


def write(folder: Path, clip_id: str, values: Sequence[int], **allowed: bool) -> Path:
    with SourceLatents.open(folder, clip_id, MADE_FROM, len(values), **allowed) as kept:
        for block, value in enumerate(values):
            assert kept.read(block) is None
            kept.keep(block, latents(value))
    return kept.path


def make_older(path: Path, seconds: float) -> None:
    time = path.stat().st_mtime - seconds
    os.utime(path, (time, time))


class CountedSource(ArraySource):
    """Counts the frames that were read."""

    count = 0

    def read(self, indices: Sequence[int]) -> np.ndarray:
        self.count += len(indices)
        return super().read(indices)


@pytest.mark.parametrize(("network", "count"), [(WanEncoder, 21), (TaeEncoder, 21), (TaeEncoder, 25)])
def test_the_next_trajectory_is_the_same_bit_for_bit_and_encodes_no_source(
    network: type[WanEncoder] | type[TaeEncoder], count: int, tmp_path: Path
) -> None:
    encoder = network(4)
    generator, calls = make_generator(encoder=encoder), 0
    encode = encoder.encode

    def counted(*given, **named) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return encode(*given, **named)

    encoder.encode = counted
    scene = replace(noise_scene(count), depth=noise_scene(count, seed=1).depth)
    paths = [targets(scene, sideways(count)), targets(scene, sideways(count))[list(range(count))[::-1]]]
    wanted = [frames_of(generator.start(scene, seed=7), path) for path in paths]
    assert not np.array_equal(wanted[0], wanted[1])
    blocks = -(-(count - 9) // 12) + 1
    whole, calls = calls // 2, 0
    assert whole == 2 * blocks
    source = CountedSource(scene.read_frames(range(count)))
    for path, expected, encoded in zip(paths, wanted, (whole, whole // 2), strict=True):
        source.count = 0
        with SourceLatents.open(tmp_path, "one", MADE_FROM, blocks) as kept:
            watched = replace(scene, frames=source, source_latents=kept)
            assert np.array_equal(frames_of(generator.start(watched, seed=7), path), expected)
        assert calls == encoded
        calls = 0
    assert source.count == count, "read once for the renders, which are live here, and not for the encoder"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_every_bit_comes_back(tmp_path: Path, dtype: torch.dtype) -> None:
    random = torch.randn(2, 1, 3, 16, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    with SourceLatents.open(tmp_path, "one", MADE_FROM, 2) as kept:
        for block, each in enumerate(random):
            kept.keep(block, each)
    known = SourceLatents(kept.path, 2)
    for block, expected in enumerate(random):
        got = known.read(block)
        assert got is not None
        assert got.dtype == dtype
        assert torch.equal(got, expected)


def test_a_file_is_there_only_when_the_clip_is_finished(tmp_path: Path) -> None:
    kept = SourceLatents.open(tmp_path, "one", MADE_FROM, 2)
    kept.keep(0, latents(0))
    kept.keep(1, latents(1))
    assert not kept.path.exists()
    kept.__exit__(KeyboardInterrupt)
    with SourceLatents.open(tmp_path, "one", MADE_FROM, 2) as kept:
        kept.keep(0, latents(0))
    assert list(tmp_path.iterdir()) == []


def test_other_inputs_are_another_file(tmp_path: Path) -> None:
    write(tmp_path, "one", [1, 2])
    with SourceLatents.open(tmp_path, "one", {"source": "another"}, 2) as kept:
        assert kept.read(0) is None


def test_what_may_not_be_read_is_made_again_and_what_may_not_be_written_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, "one", [1, 2])
    write(tmp_path, "one", [3, 4], may_read=False)
    assert SourceLatents(path, 2).read(0).max() == 3  # pyright: ignore[reportOptionalMemberAccess]
    write(tmp_path, "two", [1], may_write=False)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["flipped", "short", "long", "header", "empty"])
def test_a_damaged_file_is_removed_and_made_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "one", [1, 2])
    content = bytearray(path.read_bytes())
    match damage:
        case "flipped":
            content[len(content) // 2] ^= 1
        case "short":
            del content[-100:]
        case "long":
            content += b"0" * 100
        case "header":
            content[3:6] = b"\xff}\n"
        case _:
            content.clear()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        write(tmp_path, "one", [1, 2])
    assert path.name in caplog.text
    assert SourceLatents(path, 2).read(1).max() == 2  # pyright: ignore[reportOptionalMemberAccess]


def test_the_files_used_longest_ago_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write(tmp_path, "first", [1, 2]), write(tmp_path, "second", [1, 2])
    for path, age in ((first, 20), (second, 10)):
        make_older(path, age)
    assert SourceLatents(first, 2).read(0) is not None  # used now
    monkeypatch.setattr(source_latents, "LARGEST", int(2.5 * first.stat().st_size))
    third = write(tmp_path, "third", [1, 2])
    assert sorted(tmp_path.iterdir()) == sorted([first, third])
    monkeypatch.setattr(source_latents, "LARGEST", 100)
    write(tmp_path, "larger than all", [1, 2])
    assert sorted(tmp_path.iterdir()) == sorted([first, third])


def test_what_a_killed_run_left_goes_after_a_day(tmp_path: Path) -> None:
    old, new = (tmp_path / f".{name}{source_latents.UNFINISHED}" for name in ("old", "new"))
    for path, age in ((old, source_latents.LEFT_BEHIND + 60), (new, 60)):
        path.write_bytes(b"half")
        make_older(path, age)
    write(tmp_path, "one", [1])
    assert (old.exists(), new.exists()) == (False, True)


def test_a_full_disk_costs_the_latents_and_not_the_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = itertools.count()

    def full(_path: Path) -> None:
        next(calls)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(source_latents, "sync", full)
    write(tmp_path, "one", [1, 2])
    assert next(calls) == 1
    assert "No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []
