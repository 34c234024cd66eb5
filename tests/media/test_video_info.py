"""The record of a video and its frame index are kept in files: what comes back reads the same frames."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.clips import encode, number_of

from inspatio.media import FrameIndex, VideoInfo, VideoReader, probe
from inspatio.media.color import Orientation

ORIENTATIONS = [Orientation(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    """A stream that had to be decoded to be indexed, with exact odd times."""
    path = tmp_path_factory.mktemp("video") / "clip.ts"
    return probe(encode(path, 20, rate=Fraction(30000, 1001)))


def test_record_and_index_come_back(probed: VideoInfo, tmp_path: Path) -> None:
    probed.index.save(tmp_path / "clip.npz", "content")
    index = FrameIndex.load(tmp_path / "clip.npz", "content")
    assert index is not None
    info = VideoInfo.from_record(json.loads(json.dumps(probed.to_record())), probed.path, index)
    assert info == probed
    assert (info.start, info.timestamps()) == (probed.start, probed.timestamps())
    assert np.array_equal(info.index.ticks, probed.index.ticks)
    assert replace(info.index, ticks=probed.index.ticks) == probed.index
    with VideoReader(info) as reader:
        assert [number_of(frame) for frame in reader.read([13, 2, 19])] == [13, 2, 19]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_has_a_name(orientation: Orientation) -> None:
    named = Orientation.from_rotation(orientation.degrees, mirrored=orientation.is_mirrored)
    assert named == orientation


def test_stale_or_damaged_index_is_noticed(probed: VideoInfo, tmp_path: Path) -> None:
    file = tmp_path / "clip.npz"
    assert FrameIndex.load(file, "content") is None
    probed.index.save(file, "content")
    assert FrameIndex.load(file, "other content") is None
    file.write_bytes(file.read_bytes()[:-200])
    assert FrameIndex.load(file, "content") is None


@pytest.mark.parametrize(("change", "fault"), [("frame_count", "frames"), ("file_size", "bytes"), ("width", "width")])
def test_record_of_another_video_is_refused(probed: VideoInfo, change: str, fault: str) -> None:
    record = probed.to_record()
    record[change] = record[change] + 1
    if change == "width":
        del record[change]
    with pytest.raises(ValueError, match=fault):
        VideoInfo.from_record(record, probed.path, probed.index)
