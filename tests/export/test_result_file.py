"""A result as one file: a copy, a GIF, or numbered pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.clips import encode, number_of

from inspatio.errors import UsageError
from inspatio.export.result_file import write_result


def test_every_form_has_every_frame(tmp_path: Path):
    video = encode(tmp_path / "video.mp4", 5, rate=20)
    write_result(video, tmp_path / "new/copy.mp4")
    assert (tmp_path / "new/copy.mp4").read_bytes() == video.read_bytes()
    write_result(video, tmp_path / "pictures")
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [f"00000{number}.png" for number in range(5)]
    shown = [number_of(np.asarray(Image.open(tmp_path / "pictures" / name).convert("RGB"))) for name in names]
    assert shown == [0, 1, 2, 3, 4]
    write_result(video, tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        numbers, times = [], []
        for number in range(getattr(film, "n_frames", 1)):
            film.seek(number)
            numbers.append(number_of(np.asarray(film.convert("RGB"))))
            times.append(film.info["duration"])
    assert numbers == [0, 1, 2, 3, 4]
    assert times == [50] * 5


def test_an_unknown_ending_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"\.avi, expected \.mp4"):
        write_result(tmp_path / "video.mp4", tmp_path / "result.avi")
