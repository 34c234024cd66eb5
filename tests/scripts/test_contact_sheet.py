"""The contact sheet shows the frames it names."""

from __future__ import annotations

from pathlib import Path

import av
import contact_sheet
import cv2
import numpy as np
import pytest
from support.clips import encode, number_of

from inspatio.export.contact_sheet import GAP, LABEL_HEIGHT
from inspatio.media import probe


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("sheet") / "clip.mp4", 40, (64, 128), rate=10)


def test_sheet(clip: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert contact_sheet.main([str(clip), str(clip), "-o", str(sheet), "--frames", "3", "--width", "128"]) == 0
    image = cv2.imread(str(sheet))
    assert image is not None
    height, width = LABEL_HEIGHT + 64, 128
    for row in range(2):
        for column, number in enumerate([0, 20, 39]):
            top = row * (height + GAP) + LABEL_HEIGHT
            left = column * (width + GAP)
            assert number_of(image[top : top + 64, left : left + 128]) == number


def test_gif(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    arguments = [str(clip), str(clip), "--gif", str(path), "--width", "128", "--fps", "5", "--seconds", "2"]
    assert contact_sheet.main([*arguments, "--labels", "source,view"]) == 0
    info = probe(path)
    assert (info.frame_count, info.frame_rate) == (10, 5)
    with av.open(str(path)) as source:
        frames = [np.asarray(frame.to_ndarray(format="rgb24")) for frame in source.decode(video=0)]
    assert [number_of(frame[LABEL_HEIGHT:, :128]) for frame in frames] == list(range(0, 20, 2))


@pytest.mark.parametrize(
    "arguments", [["x.mp4"], ["x.mp4", "-o", "x.bmp"], ["x.mp4", "-o", "x.png", "--labels", "a,b"], ["--frames", "0"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        contact_sheet.main(arguments)
    assert stopped.value.code == 2


def test_unreadable_clip_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert contact_sheet.main([str(tmp_path / "none.mp4"), "-o", str(tmp_path / "x.png")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())
