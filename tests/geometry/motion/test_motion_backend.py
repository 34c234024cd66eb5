"""Geometry by motion against the ray-cast room: accurate, repeatable, and a prior where motion shows nothing."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.clips import encode
from support.moving_room import INTRINSICS, SIZE, SOURCE_STEP, film, moving, pictures, turning

from inspatio.evaluation.cameras import pose_errors
from inspatio.evaluation.metrics import depth_errors
from inspatio.evaluation.synthetic_room import scene as room
from inspatio.geometry.backend import GeometrySummary
from inspatio.geometry.motion import backend, pieces
from inspatio.geometry.motion.backend import MotionGeometry
from inspatio.geometry.plane import PlaneGeometry
from inspatio.geometry.store import Geometry, load_geometry
from inspatio.media import VideoInfo, probe

CPU_LIMIT = "resource.setrlimit(resource.RLIMIT_CPU, (1, 2))"
MOMENTS = range(0, room.FRAME_COUNT, SOURCE_STEP)
FRAMES = len(MOMENTS)


def estimate(
    video: VideoInfo, folder: Path, backend: MotionGeometry | None = None
) -> tuple[GeometrySummary, Geometry, list[tuple[int, int]]]:
    folder.mkdir()
    steps: list[tuple[int, int]] = []
    summary = (backend or MotionGeometry()).estimate(video, folder, lambda *step: steps.append(step))
    return summary, load_geometry(folder), steps


@pytest.fixture(scope="module")
def filmed() -> list[np.ndarray]:
    return pictures()


@pytest.fixture(scope="module")
def clip(filmed: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return film(tmp_path_factory.mktemp("clips") / "moving.mp4", filmed)


@pytest.fixture(scope="module")
def result(clip: VideoInfo, tmp_path_factory: pytest.TempPathFactory):
    return estimate(clip, tmp_path_factory.mktemp("motion") / "first")


def errors(geometry: Geometry) -> tuple[float, float, float, float]:
    """AbsRel, degrees, share of the path, and the focal length's relative error."""

    def pairs():
        for place, moment in enumerate(MOMENTS):
            yield geometry.depth[place], room.true_depth(moment, moving()[place], INTRINSICS, SIZE)

    depth, poses = depth_errors(pairs), pose_errors(geometry.world_to_camera, moving())
    focal = geometry.intrinsics[0, 0, 0] / INTRINSICS[0, 0] - 1
    return depth.abs_rel, poses.rotation_degrees, poses.translation, abs(focal)


def test_depth_and_cameras_are_near_the_truth(result) -> None:
    summary, geometry, steps = result
    assert (summary.backend, summary.scale, geometry.backend) == ("motion", "relative", "motion")
    depth, degrees, path, focal = errors(geometry)
    assert depth < 0.08
    assert degrees < 0.2
    assert path < 0.01
    assert focal < 0.05
    assert (geometry.depth > 0).all()
    (shot,) = geometry.settings["shots"]
    assert (shot["first"], shot["last"], shot["kind"]) == (0, FRAMES - 1, "motion")
    assert shot["held_out_error_px"] < 0.5
    done = [step[0] for step in steps]
    assert done == sorted(done)
    assert steps[-1][0] == steps[-1][1]


def test_again_gives_the_same_bytes(clip: VideoInfo, result, tmp_path: Path) -> None:
    _, geometry, _ = result
    _, again, _ = estimate(clip, tmp_path / "again")
    np.testing.assert_array_equal(again.depth, geometry.depth)
    np.testing.assert_array_equal(again.world_to_camera, geometry.world_to_camera)


@pytest.mark.slow
def test_parts_of_a_long_shot_join(clip: VideoInfo, result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the true focal length: parts are solved on their own, and the first part's lens holds for all."""
    monkeypatch.setattr(pieces, "MOST_FRAMES", 16)
    _, geometry, _ = estimate(clip, tmp_path / "parts", MotionGeometry(focal=float(INTRINSICS[0, 0])))
    shots = geometry.settings["shots"]
    assert [(shot["kind"], shot["cut"]) for shot in shots] == [("motion", True), ("motion", False)]
    assert shots[1]["first"] == shots[0]["last"] + 1
    depth, degrees, path, focal = errors(geometry)
    assert depth < 0.12
    assert degrees < 0.3
    assert path < 0.03
    assert focal < 0.002


def test_a_still_camera_gets_what_the_plane_gives(filmed: list[np.ndarray], tmp_path: Path) -> None:
    frames = [filmed[0].copy() for _ in range(10)]
    for place, frame in enumerate(frames):
        frame[60:100, 10 * place : 10 * place + 40] = filmed[12][:40, :40]  # something walks by
    video = film(tmp_path / "still.mp4", frames)
    summary, _, _ = estimate(video, tmp_path / "motion")
    (tmp_path / "plane").mkdir()
    plane = PlaneGeometry().estimate(video, tmp_path / "plane", lambda *_: None)
    assert (summary.backend, summary.scale) == ("plane", "prior")
    assert "stands still" in summary.notes[0]
    assert summary.notes[1:] == plane.notes
    for file in (tmp_path / "plane").iterdir():
        assert (tmp_path / "motion" / file.name).read_bytes() == file.read_bytes()


def filled_by_a_person(filmed: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Most of the picture is the clothes of somebody close by, who sways and turns; around them the room goes by."""
    height, width = SIZE
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    noise = np.random.default_rng(4).uniform(0, 255, (height + 80, width + 80, 3)).astype(np.float32)
    cloth = np.clip((cv2.GaussianBlur(noise, (0, 0), 2) - 127) * 6 + 127, 0, 255).astype(np.uint8)
    body = ((columns - width / 2) / (0.46 * width)) ** 2 + ((rows - 0.6 * height) / (0.62 * height)) ** 2 < 1
    frames = []
    for time in range(count):
        across = columns + 40 + 14 * np.sin(0.35 * time + columns / 55) + 8 * np.sin(0.5 * time + rows / 40)
        down = rows + 40 + 12 * np.sin(0.3 * time + columns / 70 + 1) + 6 * np.cos(0.45 * time + rows / 30)
        person = cv2.remap(cloth, across, down, cv2.INTER_LINEAR)
        frames.append(np.where(body[..., None], person, filmed[time]))
    return frames


def test_cuts_are_found_and_each_shot_has_what_it_can_have(filmed: list[np.ndarray], tmp_path: Path) -> None:
    """A camera that moves, one that stands, one that turns, one that sees a bare wall, one that sees a person."""
    shots: dict[str, list[np.ndarray]] = {
        "motion": filmed[2:20],
        "still": [filmed[20][::-1]] * 9,
        "rotation": turning(filmed[22], 12),
        "texture": [np.full_like(filmed[0], 90)] * 9,
        "moving": filled_by_a_person(filmed, 14),
    }
    video = film(tmp_path / "cuts.mp4", [frame for shot in shots.values() for frame in shot])
    summary, geometry, _ = estimate(video, tmp_path / "g")
    found = geometry.settings["shots"]
    assert [shot.get("because", shot["kind"]) for shot in found] == list(shots)
    starts = np.cumsum([0, *map(len, shots.values())]).tolist()
    assert [(shot["first"], shot["last"] + 1) for shot in found] == list(pairwise(starts))
    for shot in found[1:]:
        assert any(note.startswith(f"Frames {shot['first']} to {shot['last']}: ") for note in summary.notes)
    np.testing.assert_array_equal(geometry.world_to_camera[18:], np.tile(np.eye(4), (44, 1, 1)))
    assert (geometry.intrinsics[0] != geometry.intrinsics[18]).any()
    assert (geometry.depth[18:] == geometry.depth[18]).all()


@pytest.mark.parametrize("kind", ["blank", "noise"])
def test_pictures_that_cannot_be_followed_get_the_prior(tmp_path: Path, kind: str) -> None:
    def picture(index: int, size: tuple[int, int]) -> np.ndarray:
        if kind == "blank":
            return np.full((*size, 3), 90 + index, np.uint8)
        return np.random.default_rng(index).integers(0, 255, (*size, 3), np.uint8)

    summary, _, _ = estimate(probe(encode(tmp_path / "clip.mp4", 12, (96, 160), picture=picture)), tmp_path / "g")
    assert summary.backend == "plane"
    assert "texture" in summary.notes[0] or "too few" in summary.notes[0]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import time; time.sleep(60)", "stopped after 6 s"),
        (f"import resource; {CPU_LIMIT}\nwhile True: pass", "stopped after 1 s of computing"),
        ("import os; os.abort()", "signal 6"),
        ("raise MemoryError('no room')", "no room"),
        ("pass", "failed"),
    ],
)
def test_a_mapper_that_hangs_or_crashes_costs_its_shot_only(
    clip: VideoInfo, tmp_path: Path, program: str, said: str
) -> None:
    backend = MotionGeometry(mapper=(sys.executable, "-c", program), mapper_limit_s=1)
    summary, _, _ = estimate(clip, tmp_path / "g", backend)
    assert summary.backend == "plane"
    assert said in summary.notes[0]
    assert "\n" not in summary.notes[0]


def test_without_pycolmap_the_prior_is_taken_and_said_so(clip: VideoInfo, tmp_path: Path) -> None:
    """In a process whose import system has no pycolmap."""
    script = f"""
import sys
from pathlib import Path
class Hidden:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name == "pycolmap" else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Hidden, sys.meta_path)
from inspatio.geometry.motion.backend import MotionGeometry
from inspatio.media import probe
summary = MotionGeometry().estimate(probe(Path({str(clip.path)!r})), Path({str(tmp_path)!r}), lambda *_: None)
print(summary.backend, summary.notes[0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("plane ")
    assert "pycolmap is not installed" in done.stdout


def test_a_focal_length_that_is_given_is_kept_and_told_apart(clip: VideoInfo) -> None:
    free, given = MotionGeometry().fingerprint(clip), MotionGeometry(focal=300.0).fingerprint(clip)
    assert free != given
    assert free == MotionGeometry().fingerprint(clip)


@pytest.mark.slow
def test_a_file_that_says_its_focal_length_starts_the_search_only(
    clip: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a phone says may be some percent off (stabilisation); the clip's own motion decides."""
    usual = MotionGeometry().fingerprint(clip)
    monkeypatch.setattr(backend, "focal_length_in_pixels", lambda path, size: 0.92 * INTRINSICS[0, 0])
    assert MotionGeometry().fingerprint(clip) != usual
    _, geometry, _ = estimate(clip, tmp_path / "hinted")
    assert errors(geometry)[3] < 0.03
