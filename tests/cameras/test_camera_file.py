"""cameras.json: what is written is read back exactly, files of version 1 are read, faults are named."""

from __future__ import annotations

import json
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.poses import compose
from inspatio.errors import ClipError

COUNT = 4


def poses() -> np.ndarray:
    rng = np.random.default_rng(5)
    return compose(Rotation.from_rotvec(rng.normal(size=(COUNT, 3))).as_matrix(), rng.normal(size=(COUNT, 3)))


def intrinsics() -> np.ndarray:
    matrices = np.tile([[700 / 3, 0.0, 415.5], [0.0, 690.1, 239.5], [0.0, 0.0, 1.0]], (COUNT, 1, 1))
    matrices[:, 0, 0] += np.arange(COUNT) / 7
    return matrices


ESTIMATED = CameraFile((480, 832), intrinsics(), poses(), "metres", "da3", {"window": 2, "notes": ["größe"]}, 0.0008)
RENDERED = CameraFile(
    (480, 832),
    intrinsics()[[1] * COUNT],
    poses(),
    "prior",
    frame_rate=Fraction(30000, 1001),
    timeline=(0, 2, 2, 1),
)


def assert_same(got: CameraFile, expected: CameraFile) -> None:
    for field in fields(CameraFile):
        np.testing.assert_array_equal(getattr(got, field.name), getattr(expected, field.name), field.name)


@pytest.mark.parametrize("cameras", [ESTIMATED, RENDERED], ids=["estimated", "rendered"])
def test_what_is_written_is_read_back_exactly(tmp_path: Path, cameras: CameraFile):
    path = tmp_path / "cameras.json"
    cameras.save(path)
    assert_same(CameraFile.load(path, ""), cameras)
    CameraFile.load(path, "").save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


GEOMETRY_V1: dict[str, Any] = {
    "format": "inspatio-geometry",
    "version": 1,
    "convention": "opencv, world_to_camera",
    "image_size": [480, 832],
    "frame_count": COUNT,
    "scale": "metres",
    "backend": "da3",
    "settings": {"window": 2, "notes": ["größe"]},
    "depth_coding": {"quantity": "inverse_depth", "scale": 0.0008},
    "intrinsics": intrinsics().reshape(COUNT, 9).tolist(),
    "world_to_camera": poses().reshape(COUNT, 16).tolist(),
}
RENDER_V1: dict[str, Any] = {
    "format": "inspatio-cameras",
    "version": 1,
    "convention": "opencv, world_to_camera, row by row",
    "size": [480, 832],
    "frame_rate": "30000/1001",
    "scale": "prior",
    "order": [0, 2, 2, 1],
    "intrinsics": intrinsics()[1].ravel().tolist(),
    "world_to_camera": poses().reshape(COUNT, 16).tolist(),
}


@pytest.mark.parametrize(
    ("record", "expected"), [(GEOMETRY_V1, ESTIMATED), (RENDER_V1, RENDERED)], ids=["geometry", "render"]
)
def test_version_1_is_read(tmp_path: Path, record: dict[str, Any], expected: CameraFile):
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(record))
    assert_same(CameraFile.load(path, ""), expected)


def without(name: str, record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([1, 2], ["list", "inspatio-cameras"]),
        ({**GEOMETRY_V1, "format": "other"}, ["'other'", "inspatio-cameras"]),
        ({**GEOMETRY_V1, "version": 2}, ["version 2"]),
        ({**RENDER_V1, "version": 3}, ["version 3", "version 2"]),
        ({**GEOMETRY_V1, "convention": "opengl, camera_to_world"}, ["'convention'", "'opengl", "opencv"]),
        ({**GEOMETRY_V1, "scale": "feet"}, ["'scale'", "'feet'", "relative"]),
        (without("scale", GEOMETRY_V1), ["'scale' is missing"]),
        (without("world_to_camera", GEOMETRY_V1), ["'world_to_camera' is missing"]),
        (without("order", RENDER_V1), ["'order' is missing"]),
        ({**RENDER_V1, "order": [0, 1]}, ["'world_to_camera'", "(4, 16)", "2 rows"]),
        ({**RENDER_V1, "frame_rate": "25/0"}, ["'frame_rate'", "'25/0'"]),
        ({**GEOMETRY_V1, "frame_count": 6}, ["'intrinsics'", "(4, 9)", "6 or 1 rows"]),
        ({**GEOMETRY_V1, "frame_count": "4"}, ["'frame_count'", "'4'"]),
        ({**GEOMETRY_V1, "image_size": [480]}, ["'image_size'", "[480]"]),
        ({**GEOMETRY_V1, "intrinsics": [[0.0] * 9] * 4}, ["'intrinsics'", "focal"]),
        ({**GEOMETRY_V1, "intrinsics": [["1"] * 9] * 4}, ["'intrinsics'", "numbers"]),
        ({**GEOMETRY_V1, "world_to_camera": [[1.0] * 16] * 3 + [[1.0]]}, ["'world_to_camera'", "lengths"]),
        ({**GEOMETRY_V1, "world_to_camera": [[2.0] * 16] * 4}, ["'world_to_camera'", "not a rigid transform"]),
        ({**GEOMETRY_V1, "world_to_camera": [[float("nan")] * 16] * 4}, ["'world_to_camera'", "NaN"]),
        ({**GEOMETRY_V1, "depth_coding": [1]}, ["'depth_coding'", "[1]"]),  # this and those below were tracebacks
        ({**GEOMETRY_V1, "image_size": [10**400, 5]}, ["'image_size.0'", "65536"]),
        ({**GEOMETRY_V1, "frame_count": 10**400}, ["'frame_count'"]),
        ({**RENDER_V1, "order": [10**400]}, ["'timeline.0'"]),
        ({**RENDER_V1, "frame_rate": f"{10**400}/1"}, ["'frame_rate'"]),
        ({**GEOMETRY_V1, "intrinsics": [[10**400] * 9] * 4}, ["'intrinsics'", "numbers"]),
        ({**GEOMETRY_V1, "settings": {"a": "\ud800"}}, ["'settings'", "surrogate"]),
        ({**GEOMETRY_V1, "depth_coding": {"quantity": "depth", "scale": 1}}, ["'depth_coding.quantity'", "'depth'"]),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, record: Any, words: list[str]):
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(record))
    with pytest.raises(ClipError) as caught:
        CameraFile.load(path, "Render it again.")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith("Render it again.")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "said"), [("[" * 100_000, "nested too deeply"), ('{"version": ' + "9" * 5000 + "}", "5000 digits")]
)
def test_deep_nesting_and_long_numbers_are_refused(tmp_path: Path, text: str, said: str):
    """Both were tracebacks."""
    (tmp_path / "cameras.json").write_text(text)
    with pytest.raises(ClipError, match=said) as caught:
        CameraFile.load(tmp_path / "cameras.json", "")
    assert "\n" not in str(caught.value)


def test_missing_and_cut_files_are_refused(tmp_path: Path):
    with pytest.raises(ClipError, match="no such file"):
        CameraFile.load(tmp_path / "none.json", "")
    path = tmp_path / "cameras.json"
    RENDERED.save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ClipError, match="cannot be read as JSON"):
        CameraFile.load(path, "")
