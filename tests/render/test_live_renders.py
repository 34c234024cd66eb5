"""Renders of a scene as cameras come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support.scenes import hills, room, scene_of, sideways, targets, wall

from inspatio.cameras.cameras import target_intrinsics
from inspatio.cameras.poses import centred_intrinsics
from inspatio.errors import ClipError
from inspatio.pipeline.background import Background, RendersAhead
from inspatio.render import WarpRenderer, render_scene
from inspatio.render.files import CAMERAS_NAME, RenderedCameras, RenderFiles, RenderWriter
from inspatio.scene import Render, Scene


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunks_are_the_whole_and_the_renderers_own(chunk: int) -> None:
    clip = hills(5)
    scene = scene_of(clip)
    cameras = targets(scene, clip.target)
    parts = [render_scene(WarpRenderer(), scene, i, cameras[i : i + chunk]) for i in range(0, 5, chunk)]
    expected = replace(clip, target_intrinsics=cameras.intrinsics).render(WarpRenderer())
    assert_array_equal(np.concatenate([part.frames for part in parts]), expected[0])
    assert_array_equal(np.concatenate([part.masks for part in parts]), expected[1])


def test_a_clip_played_in_another_order() -> None:
    """Frames, depth and source cameras follow the timeline, also beyond the clip's end."""
    clip = hills(4)
    scene = scene_of(clip).select([2, 0, 0, 3, 1, 2])
    cameras = targets(scene, clip.target[[1, 2, 3, 0]])
    assert_array_equal(cameras.intrinsics[0], target_intrinsics(clip.source_intrinsics[2], scene.size))
    expected = replace(clip.part([3, 1, 2, 1]), target=clip.target[[1, 2, 3, 0]], target_intrinsics=cameras.intrinsics)
    again = render_scene(WarpRenderer(), scene, 3, cameras)
    assert_array_equal(again.frames, expected.render(WarpRenderer())[0])


@pytest.mark.parametrize("principal", [(15.5, 11.5), (16.0, 12.0), (15.9, 11.2), (7.3, 30.0)])
def test_target_view_is_centred_and_sharp(principal: tuple[float, float]) -> None:
    """Without motion the target view is the source moved by whole pixels, and its centre is within half a pixel."""
    clip = wall(24, 32)
    clip.source_intrinsics[0, :2, 2] = principal
    cameras = targets(scene_of(clip), np.eye(4)[None])
    centre = centred_intrinsics(clip.source_intrinsics[0], (24, 32))
    assert np.abs(cameras.intrinsics[0] - centre).max() <= 0.5 + 1e-9
    right, down = np.rint(cameras.intrinsics[0, :2, 2] - principal).astype(int)
    render = render_scene(WarpRenderer(), scene_of(clip), 0, cameras)
    padded = np.pad(clip.frames[0], ((24, 24), (32, 32), (0, 0)))
    assert_array_equal(render.frames[0], padded[24 - down : 48 - down, 32 - right : 64 - right])
    assert_array_equal(render.masks[0] > 0, render.frames[0].any(-1))


def stored(folder: Path, scene: Scene, count: int) -> tuple[Render, RenderFiles]:
    """A live render of a scene, and the same from files."""
    cameras = targets(scene, sideways(count))
    live = render_scene(WarpRenderer(), scene, 0, cameras)
    with RenderWriter(folder, scene.size, scene.frame_rate) as writer:
        writer.write(live.frames, live.masks)
    order = tuple(scene.source_frames(range(count)))
    poses = cameras.world_to_camera
    RenderedCameras(scene.size, scene.frame_rate, scene.scale, order, cameras.intrinsics, poses).save(
        folder / CAMERAS_NAME
    )
    return live, RenderFiles(folder)


def test_files_rendered_for_other_cameras_are_refused(tmp_path: Path) -> None:
    scene = scene_of(hills(6, 32, 48))
    live, files = stored(tmp_path, scene, 6)
    with files:
        cameras = files.targets
        assert_array_equal(files.read(2, cameras[2:5]).masks, live.masks[2:5])
        moved = sideways(6)
        moved[3, 1, 3] += 1e-3
        wider = replace(cameras, intrinsics=cameras.intrinsics * [[0.9], [0.9], [1.0]])
        for start, wrong in ((1, cameras[:3]), (0, targets(scene, moved)), (0, wider), (4, cameras[:4])):
            with pytest.raises(ClipError, match="other cameras"):
                files.read(start, wrong)


def test_frames_that_were_looked_ahead_at_are_the_same(tmp_path: Path) -> None:
    scene = room()
    _, files = stored(tmp_path, scene, 9)
    with files:
        whole = files.read(0, files.targets).frames
        assert_array_equal(files.read(0, files.targets[:3]).frames, whole[:3])
        assert_array_equal(files.read_after(3, 4), whole[3:7])
        assert_array_equal(files.read(3, files.targets[3:5]).frames, whole[3:5])  # fewer than are known
        assert_array_equal(files.read_after(5, 2), whole[5:7])
        assert_array_equal(files.read(5, files.targets[5:9]).frames, whole[5:9])
        assert len(files.read_after(9, 3)) == 0
        assert_array_equal(files.read(1, files.targets[1:4]).frames, whole[1:4])


def test_a_reader_in_the_background_looks_ahead_too(tmp_path: Path) -> None:
    scene = room()
    _, files = stored(tmp_path, scene, 9)
    with files, Background() as thread:
        whole, reader = files.read(0, files.targets).frames, RendersAhead(files, thread)
        for start, end in ((0, 4), (4, 9)):
            assert_array_equal(reader.read(start, files.targets[start:end]).frames, whole[start:end])
            assert_array_equal(reader.read_after(end, 3), whole[end : end + 3])
        assert_array_equal(reader.read_after(2, 3), whole[2:5])  # what nobody guessed


def test_files_give_the_network_what_live_renders_give(tmp_path: Path) -> None:
    """Coverage is the same bit for bit; colour, -1..1 as a network sees it, differs by what the video codec loses."""
    scene = room()
    live, files = stored(tmp_path, scene, 9)
    with files:
        read = files.read(0, files.targets)
    assert_array_equal(read.masks, live.masks)
    difference = np.abs(read.frames.astype(float) - live.frames) / 127.5
    assert difference.mean() < 0.02
    assert np.quantile(difference, 0.999) < 0.15
