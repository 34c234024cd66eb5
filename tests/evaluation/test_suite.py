"""The held-out suite is frozen, its clips are what their seeds say, and its truths are kept by content, within a limit.

``suite.json`` beside this file holds numbers of every clip as they were when its version was made: pixels of small
views, the source camera's last pose, the path's farthest pose. They must never be made again for the same version.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from inspatio.evaluation.suite import FRAME_COUNT, PATHS, SUITES, SuiteClip
from inspatio.evaluation.synthetic_room import raycast
from inspatio.evaluation.truth import content_key, discard_unused, load_truth, probe_views

SUITE = SUITES["synthetic"]
FROZEN = json.loads(Path(__file__).with_name("suite.json").read_text())
PIXELS = ((3, 4), (7, 13), (11, 21), (13, 2))


def numbers(clip: SuiteClip) -> dict:
    """What is frozen of a clip."""
    path = clip.trajectory.camera_to_world(FRAME_COUNT, 1.0)
    return {
        "seed": clip.seed,
        "path": clip.path,
        "size": list(clip.size),
        "focal": round(float(clip.intrinsics[0, 0]), 4),
        "pixels": [probe_views(clip)[view][at].tolist() for view in (0, 1) for at in PIXELS],
        "source": clip.source_world_to_camera[-1, :3].round(5).ravel().tolist(),
        "target": path[[FRAME_COUNT // 2, -1], :3].round(5).ravel().tolist(),
    }


def test_the_version_names_these_clips():
    assert (SUITE.name, SUITE.version) == (FROZEN["name"], FROZEN["version"])
    assert [clip.name for clip in SUITE.clips] == list(FROZEN["clips"])


@pytest.mark.parametrize("clip", SUITE.clips, ids=lambda clip: clip.name)
def test_a_clip_never_changes(clip: SuiteClip):
    found, frozen = numbers(clip), FROZEN["clips"][clip.name]
    for name in ("seed", "path", "size"):
        assert found[name] == frozen[name]
    # Another compiler may round a pixel otherwise; another texture, light or layout is far off.
    assert np.abs(np.subtract(found["pixels"], frozen["pixels"])).max() <= 2
    for name in ("focal", "source", "target"):
        assert np.allclose(found[name], frozen[name], atol=2e-4)


def test_the_suite_has_six_kinds_of_path_at_two_sizes():
    sizes = [clip.size for clip in SUITE.clips]
    assert (sizes.count((240, 416)), sizes.count((480, 832))) == (26, 4)
    assert len({clip.seed for clip in SUITE.clips}) == len({clip.name for clip in SUITE.clips}) == 30
    assert {clip.path for clip in SUITE.clips} == set(PATHS)


@pytest.mark.parametrize("name", ["orbit_0", "rise_1", "swing_2", "dolly_3", "walk_forward", "table_orbit"])
def test_the_source_camera_starts_at_the_origin_and_moves_like_a_camera(name: str):
    (clip,) = [each for each in SUITE.clips if each.name == name]
    poses = clip.source_world_to_camera
    assert np.allclose(poses[0], np.eye(4), atol=1e-9)
    centres = np.linalg.inv(poses)[:, :3, 3]
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    assert 0.03 < np.linalg.norm(centres, axis=1).max() < (0.8 if clip.scene == "room" else 2.3)
    assert steps.max() < 0.07, "a walk of 1.2 m/s at 24 frames/s makes steps of 5 cm"
    assert len(poses) == FRAME_COUNT


@pytest.mark.parametrize("clip", SUITE.clips[-2:], ids=lambda clip: clip.name)
def test_cameras_of_the_new_scenes_never_stand_in_a_thing(clip: SuiteClip):
    """Source and target cameras keep 30 cm from everything ahead of them."""
    lens, size = np.diag([26 / clip.size[1], 15 / clip.size[0], 1]) @ clip.intrinsics, (15, 26)
    first = clip.room.depth(0, clip.source_world_to_camera[0], lens, size)
    targets = clip.trajectory.camera_to_world(FRAME_COUNT, float(np.percentile(first, 5)))
    for frame in range(0, FRAME_COUNT, 4):
        source = clip.source_world_to_camera[frame]
        for pose in (source, np.linalg.inv(targets[frame]) @ source):
            assert clip.room.depth(clip.time(frame), pose, lens, size).min() > 0.3


def test_a_figure_walks_behind_the_table():
    clip = SUITE.clips[-1]
    assert clip.room.mover is not None
    rows = [np.array(clip.room.mover(time))[:, raycast.CENTRE : raycast.CENTRE + 2] for time in (0, 1)]
    assert np.linalg.norm((rows[1] - rows[0]).mean(axis=0)) == pytest.approx(1.2, abs=0.1)
    assert min(each[:, 1].min() for each in rows) > 2.3 + 0.4


def test_another_scene_has_another_key():
    clip = SUITE.clips[0]
    same = SuiteClip(clip.name, clip.seed, clip.path, clip.source)
    others = (
        SuiteClip(clip.name, clip.seed + 500, clip.path, clip.source),
        SuiteClip(clip.name, clip.seed, "rise", clip.source),
        SuiteClip(clip.name, clip.seed, clip.path, "walk"),
        SuiteClip(clip.name, clip.seed, clip.path, clip.source, size=(120, 208)),
    )
    assert content_key(same) == content_key(clip)
    assert len({content_key(each) for each in (clip, *others)}) == 5


def test_a_truth_is_made_once_and_again_for_another_scene(tmp_path: Path):
    tiny = SuiteClip("tiny", 900_900, "truck", size=(24, 40))
    steps: list[tuple[int, int]] = []
    made = load_truth(tiny, tmp_path, lambda *step: steps.append(step))
    assert steps[-1] == (2 * FRAME_COUNT, 2 * FRAME_COUNT)
    steps.clear()
    assert np.array_equal(load_truth(tiny, tmp_path).depth, made.depth)
    assert not steps, "the second use reads files"
    assert made.frames([0, 44]).shape == (2, 24, 40, 3)
    other = load_truth(SuiteClip("tiny", 900_901, "truck", size=(24, 40)), tmp_path, lambda *step: steps.append(step))
    assert steps
    assert not np.array_equal(other.depth, made.depth)


def test_kept_truths_stay_within_a_limit(tmp_path: Path):
    """Those that were not used for longest go first; what is used now stays."""
    for age, name in enumerate(("newest", "older", "oldest")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "depth.npy").write_bytes(bytes(1000))
        (tmp_path / name / "truth.json").write_text("{}")
        os.utime(tmp_path / name / "truth.json", (1e9 - age, 1e9 - age))
    discard_unused(tmp_path, limit=2100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newest", "older"]
    discard_unused(tmp_path, limit=2100)
    assert len(list(tmp_path.iterdir())) == 2
