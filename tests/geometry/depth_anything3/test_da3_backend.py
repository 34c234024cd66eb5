"""The backend on real clips with tiny networks: what it writes, windows against one pass, and what goes wrong.

Random weights know nothing of scenes, so this proves the way through, not the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.clips import encode
from tiny import da3

from inspatio.errors import ClipError, MissingWeightsError, UsageError
from inspatio.geometry.backend import GeometrySummary
from inspatio.geometry.depth_anything3 import DepthAnything3
from inspatio.geometry.depth_anything3.buffers import READ_AT_ONCE
from inspatio.geometry.depth_anything3.windows import window_for
from inspatio.geometry.store import Geometry, load_geometry
from inspatio.media import VideoInfo, probe
from inspatio.models.attention import attention
from inspatio.models.depth_anything3.checkpoint import WEIGHTS_FILE
from inspatio.models.depth_anything3.network import network_size, shrink
from inspatio.models.memory import free_memory

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    da3.write(folder, seed=1)
    return folder


def moving_picture(count: int, size: tuple[int, int]) -> np.ndarray:
    """``n h w 3`` frames of smooth noise that drifts."""
    random = np.random.default_rng(7)
    wide = cv2.GaussianBlur(random.uniform(0, 255, (size[0], size[1] + 4 * count, 3)), (0, 0), 5)
    wide = np.clip((wide - wide.mean()) * 8 + 128, 0, 255).astype(np.uint8)
    return np.stack([wide[:, 4 * i : 4 * i + size[1]] for i in range(count)])


def write_clip(path: Path, frames: np.ndarray) -> VideoInfo:
    return probe(encode(path, len(frames), frames.shape[1:3], picture=lambda index, size: frames[index]))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", moving_picture(13, (96, 160)))


def run(
    backend: DepthAnything3, video: VideoInfo, folder: Path
) -> tuple[GeometrySummary, Geometry, list[tuple[int, int]]]:
    folder.mkdir(exist_ok=True)
    progress: list[tuple[int, int]] = []
    summary = backend.estimate(video, folder, lambda done, total: progress.append((done, total)))
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")], "temporary files stay behind"
    return summary, load_geometry(folder), progress


@pytest.fixture
def nested(models: Path) -> Callable[..., DepthAnything3]:
    def make(**options: Any) -> DepthAnything3:
        chosen: dict[str, Any] = {"longest": 112} | options
        return DepthAnything3(models / "DA3", device=CPU, **chosen)

    return make


def test_nested_writes_a_geometry_folder(
    nested: Callable[..., DepthAnything3], clip: VideoInfo, tmp_path: Path
) -> None:
    summary, geometry, progress = run(nested(longest=252), clip, tmp_path)
    assert (summary.backend, summary.scale, summary.frame_count) == ("da3", "metres", 13)
    assert geometry.scale == "metres"
    assert geometry.image_size == (96, 160)
    assert geometry.depth.shape == (13, 154, 252)  # 151.2 pixels go to the nearest multiple of 14
    assert geometry.confidence is not None
    assert geometry.sky is not None
    assert geometry.confidence.shape == geometry.sky.shape == geometry.depth.shape
    assert np.isfinite(geometry.depth).all()
    assert (geometry.depth > 0).all()
    np.testing.assert_array_equal(geometry.world_to_camera[0], np.eye(4))
    np.testing.assert_allclose(geometry.intrinsics[:, :2, 2], np.tile([79.5, 47.5], (13, 1)))
    assert progress == [(13, 13)]
    assert geometry.settings["models"] == ["da3nested-tiny"]
    assert geometry.settings["licenses"] == {"da3nested-tiny": "Apache-2.0"}
    assert geometry.settings["windows"] == [13]


def test_pair_of_folders_is_the_nested_model(models: Path, clip: VideoInfo, tmp_path: Path) -> None:
    """The tiny folders share their seed, so two folders must give what one nested folder gives."""
    pair = DepthAnything3(models / "DA3-any-view", models / "DA3-metric", device=CPU, longest=112)
    summary, together, _ = run(pair, clip, tmp_path / "pair")
    _, alone, _ = run(DepthAnything3(models / "DA3", device=CPU, longest=112), clip, tmp_path / "nested")
    assert summary.scale == "metres"
    np.testing.assert_array_equal(together.depth, alone.depth)
    np.testing.assert_array_equal(together.world_to_camera, alone.world_to_camera)
    assert together.settings["models"] == ["da3-tiny", "da3metric-tiny"]


def test_any_view_alone_is_relative(models: Path, clip: VideoInfo, tmp_path: Path) -> None:
    summary, geometry, _ = run(DepthAnything3(models / "DA3-any-view", device=CPU, longest=112), clip, tmp_path)
    assert summary.scale == geometry.scale == "relative"
    assert geometry.sky is None


def test_metric_alone_stands_still(models: Path, clip: VideoInfo, tmp_path: Path) -> None:
    path = models / "DA3-metric"
    summary, geometry, _ = run(DepthAnything3(path, device=CPU, longest=112), clip, tmp_path / "guess")
    assert summary.scale == "relative"
    assert any("stand still" in note for note in summary.notes)
    np.testing.assert_array_equal(geometry.world_to_camera, np.tile(np.eye(4), (13, 1, 1)))

    known = DepthAnything3(path, device=CPU, longest=112, field_of_view=90)
    summary, geometry, _ = run(known, clip, tmp_path / "known")
    assert summary.scale == "metres"
    np.testing.assert_allclose(geometry.intrinsics[:, 0, 0], 80)


def test_streamed_in_windows_or_not_the_frames_are_the_same(
    nested: Callable[..., DepthAnything3], clip: VideoInfo, tmp_path: Path
) -> None:
    """The metric network sees frames one by one, so its sky cannot depend on the windows; each frame comes once."""
    _, whole, _ = run(nested(), clip, tmp_path / "whole")
    _, cut, progress = run(nested(window=5), clip, tmp_path / "cut")
    assert cut.settings["windows"] == [5, 5, 5, 4]
    assert len(cut.settings["overlap_errors"]) == 3
    assert [done for done, _ in progress] == [5, 8, 11, 13]
    np.testing.assert_array_equal(whole.sky, cut.sky)
    assert cut.depth.shape == whole.depth.shape


def test_window_larger_than_the_clip_changes_nothing(
    nested: Callable[..., DepthAnything3], clip: VideoInfo, tmp_path: Path
) -> None:
    _, free, _ = run(nested(), clip, tmp_path / "free")
    _, wide, _ = run(nested(window=64), clip, tmp_path / "wide")
    np.testing.assert_array_equal(free.depth, wide.depth)
    np.testing.assert_array_equal(free.world_to_camera, wide.world_to_camera)


def test_smoothing_is_for_poses_only(nested: Callable[..., DepthAnything3], clip: VideoInfo, tmp_path: Path) -> None:
    _, raw, _ = run(nested(pose_smoothing=0.0), clip, tmp_path / "raw")
    _, smooth, _ = run(nested(pose_smoothing=2.0), clip, tmp_path / "smooth")
    np.testing.assert_array_equal(raw.depth, smooth.depth)

    def unrest(geometry: Geometry) -> float:
        return float(np.abs(np.diff(geometry.world_to_camera, n=2, axis=0)).sum())

    assert unrest(smooth) < 0.5 * unrest(raw)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_short_clips(count: int, nested: Callable[..., DepthAnything3], tmp_path: Path) -> None:
    video = write_clip(tmp_path / "short.mp4", moving_picture(count, (64, 96)))
    summary, geometry, _ = run(nested(), video, tmp_path / "out")
    assert summary.frame_count == geometry.frame_count == count
    assert summary.scale == "metres"


@pytest.mark.parametrize("size", [(160, 90), (48, 480)], ids=["portrait", "very wide"])
def test_any_shape(size: tuple[int, int], nested: Callable[..., DepthAnything3], tmp_path: Path) -> None:
    video = write_clip(tmp_path / "shape.mp4", moving_picture(4, size))
    _, geometry, _ = run(nested(), video, tmp_path / "out")
    assert geometry.image_size == size
    assert max(geometry.depth.shape[1:]) == 112
    np.testing.assert_allclose(geometry.intrinsics[0, :2, 2], [(size[1] - 1) / 2, (size[0] - 1) / 2])


def test_frames_that_change_size_in_mid_stream(nested: Callable[..., DepthAnything3], tmp_path: Path) -> None:
    """The whole clip has the size of its first frame."""
    parts = []
    for size in ((64, 96), (96, 160)):
        path = tmp_path / f"{size[0]}.h264"
        with av.open(str(path), "w", format="h264") as file:
            stream = file.add_stream("libx264", rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            for picture in moving_picture(4, size):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode(None))
        parts.append(path.read_bytes())
    (tmp_path / "changing.h264").write_bytes(b"".join(parts))
    _, geometry, _ = run(nested(window=5), probe(tmp_path / "changing.h264"), tmp_path / "out")
    assert geometry.image_size == (64, 96)
    assert geometry.frame_count == 8
    assert (geometry.depth > 0).all()


def test_frames_are_read_once_and_never_far_ahead(nested: Callable[..., DepthAnything3], tmp_path: Path) -> None:
    """However the windows overlap."""

    class Watched:
        def __init__(self) -> None:
            self.furthest = 0
            self._picture = moving_picture(1, (32, 48))

        def __len__(self) -> int:
            return 60

        def read(self, indices: Sequence[int]) -> np.ndarray:
            assert min(indices) == self.furthest, "every frame is read once, in order"
            self.furthest = max(indices) + 1
            return self._picture.repeat(len(indices), axis=0)

    watched, ahead = Watched(), []
    nested(window=6, longest=56).estimate_frames(
        watched, (32, 48), tmp_path, lambda done, total: ahead.append(watched.furthest - done)
    )
    assert max(ahead) <= READ_AT_ONCE


def test_black_clip_is_said_to_be_one(nested: Callable[..., DepthAnything3], tmp_path: Path) -> None:
    video = write_clip(tmp_path / "black.mp4", np.zeros((4, 64, 96, 3), np.uint8))
    summary, _, _ = run(nested(), video, tmp_path / "out")
    assert any("one colour" in note for note in summary.notes)


def edited(models: Path, target: Path, name: str, **changes: torch.Tensor) -> Path:
    """A copy of a tiny folder with some parameters replaced (dots in their names written as two underscores)."""
    target.mkdir()
    (target / "config.json").write_bytes((models / name / "config.json").read_bytes())
    state = load_file(models / name / WEIGHTS_FILE)
    for key, value in changes.items():
        published = key.replace("__", ".")
        assert state[published].shape == value.shape, f"{published} is {state[published].shape}"
        state[published] = value
    save_file(state, target / WEIGHTS_FILE)
    return target


def test_all_sky_keeps_the_any_view_scale_and_says_so(models: Path, clip: VideoInfo, tmp_path: Path) -> None:
    everywhere = {"model__da3_metric__head__scratch__sky_output_conv2__2__bias": torch.tensor([1e3])}
    path = edited(models, tmp_path / "model", "DA3", **everywhere)
    summary, geometry, _ = run(DepthAnything3(path, device=CPU, longest=112), clip, tmp_path / "out")
    assert summary.scale == geometry.scale == "relative"
    assert any("besides sky" in note for note in summary.notes)
    assert geometry.sky is not None
    assert geometry.sky.all()
    alone = DepthAnything3(models / "DA3-any-view", device=CPU, longest=112)
    np.testing.assert_array_equal(geometry.depth, run(alone, clip, tmp_path / "alone")[1].depth)


def test_depth_that_is_no_number_is_not_known(models: Path, clip: VideoInfo, tmp_path: Path) -> None:
    """Overflow in the head: exp of a large number is infinite. Where it is, depth is 0; everywhere is an error."""
    key = "model__head__scratch__output_conv2__2__"
    weight = torch.zeros(2, 32, 1, 1)
    weight[0, ::2], weight[0, 1::2] = 800.0, -800.0
    path = edited(models, tmp_path / "some", "DA3-any-view", **{key + "weight": weight})
    summary, geometry, _ = run(DepthAnything3(path, device=CPU, longest=112), clip, tmp_path / "out")
    known = geometry.depth > 0
    assert known.any()
    assert not known.all()
    assert any("were not numbers" in note for note in summary.notes)

    path = edited(models, tmp_path / "all", "DA3-any-view", **{key + "bias": torch.full((2,), torch.nan)})
    with pytest.raises(ClipError, match="no finite depth"):
        run(DepthAnything3(path, device=CPU, longest=112), clip, tmp_path / "none")


def test_poses_that_are_no_numbers(models: Path, clip: VideoInfo, tmp_path: Path) -> None:
    path = edited(models, tmp_path / "model", "DA3-any-view", model__cam_dec__fc_t__bias=torch.full((3,), torch.nan))
    with pytest.raises(ClipError, match="poses that are not numbers"):
        run(DepthAnything3(path, device=CPU, longest=112), clip, tmp_path / "out")


def short_of_memory(tokens: int) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """Attention on a device that cannot hold more tokens than these."""

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if q.shape[1] > tokens:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {q.shape[1]} tokens")
        return attention(q, k, v)

    return attend


def test_out_of_memory_halves_the_window_and_goes_on(
    nested: Callable[..., DepthAnything3], clip: VideoInfo, tmp_path: Path
) -> None:
    """41 tokens to a frame of 70x112: 7 frames fit, 13 do not, 6 do."""
    summary, geometry, _ = run(nested(attend=short_of_memory(7 * 41)), clip, tmp_path)
    assert max(geometry.settings["windows"]) <= 7
    assert any("out of memory with 13 frames at a time; continued with 6" in note for note in summary.notes)
    assert geometry.depth.shape[0] == 13


def test_out_of_memory_below_the_smallest_window(
    nested: Callable[..., DepthAnything3], clip: VideoInfo, tmp_path: Path
) -> None:
    with pytest.raises(ClipError, match=r"out of memory with 6 frames.*Free memory"):
        run(nested(attend=short_of_memory(3 * 41), window=6), clip, tmp_path)


def test_other_errors_are_not_taken_for_memory(
    nested: Callable[..., DepthAnything3], clip: VideoInfo, tmp_path: Path
) -> None:
    def broken(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(nested(attend=broken), clip, tmp_path)


def test_models_that_do_not_go_together(models: Path) -> None:
    with pytest.raises(UsageError, match="cannot be combined with a metric model"):
        DepthAnything3(models / "DA3", models / "DA3-metric", device=CPU)
    with pytest.raises(UsageError, match="expected a metric model"):
        DepthAnything3(models / "DA3-any-view", models / "DA3-any-view", device=CPU)
    with pytest.raises(MissingWeightsError, match="no such folder"):
        DepthAnything3(models / "nowhere", device=CPU)


@pytest.mark.parametrize("options", [{"window": 3}, {"pose_smoothing": -1.0}, {"field_of_view": 200.0}])
def test_options_out_of_range(options: dict[str, float], nested: Callable[..., DepthAnything3]) -> None:
    with pytest.raises(UsageError, match="expected"):
        nested(**options)


def test_fingerprint_follows_options_and_weights(
    models: Path, nested: Callable[..., DepthAnything3], clip: VideoInfo, tmp_path: Path
) -> None:
    first = nested().fingerprint(clip)
    assert first == nested().fingerprint(clip)
    assert first != nested(window=8).fingerprint(clip)
    da3.write(tmp_path, seed=2)
    assert first != DepthAnything3(tmp_path / "DA3", device=CPU, longest=112).fingerprint(clip)


@pytest.mark.parametrize(
    ("source", "expected"),
    [((480, 832), (294, 504)), ((900, 1920), (238, 504)), ((1080, 1920), (280, 504)), ((1920, 1080), (504, 280)),
     ((504, 504), (504, 504)), ((100, 100), (504, 504)), ((20, 2000), (14, 504))],
)  # fmt: skip
def test_network_size(source: tuple[int, int], expected: tuple[int, int]) -> None:
    assert network_size(source) == expected
    assert shrink(np.zeros((1, *source, 3), np.uint8)).shape[1:3] == expected


def test_window_follows_free_memory(models: Path, nested: Callable[..., DepthAnything3]) -> None:
    config = nested().folders[0].model.networks[0]
    sizes = [window_for(free, config, (280, 504), torch.float32) for free in (0, 2**28, 2**30, 2**50)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (4, 256)
    assert free_memory(CPU) > 0


def guest_before_a_locked_camera() -> np.ndarray:
    """``n h w 3``: a still picture with a little noise; something comes at frame 6, moves at 7 and 8, and stays."""
    frames = moving_picture(1, (96, 160)).repeat(14, axis=0)
    for index in range(6, 14):
        left = 10 * min(index, 8)
        frames[index, 30:60, left : left + 24] = (240, 60, 20)
    noise = np.random.default_rng(2).normal(0, 2, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def test_a_locked_camera_is_estimated_only_where_its_picture_changes(models: Path, tmp_path: Path) -> None:
    """Four of 14 frames go through the networks, and have the depth that a clip of these four alone has."""
    frames, chosen = guest_before_a_locked_camera(), [0, 6, 7, 8]
    seen: list[int] = []

    def counting(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        seen.append(q.shape[0] * q.shape[1])
        return attention(q, k, v)

    def estimated(name: str, pictures: np.ndarray, model: str) -> tuple[GeometrySummary, Geometry, int]:
        seen.clear()
        backend = DepthAnything3(models / model, device=CPU, longest=112, pose_smoothing=0, attend=counting)
        path = encode(  # lossless, so that fewer frames are the same pixels
            tmp_path / f"{name}.mkv",
            len(pictures),
            pictures.shape[1:3],
            codec="ffv1",
            pixel_format="bgr0",
            picture=lambda index, size: pictures[index],
        )
        summary, geometry, _ = run(backend, probe(path), tmp_path / name)
        return summary, geometry, sum(seen)

    for model in ("DA3-any-view", "DA3-metric"):
        (tmp_path / model).mkdir()
        summary, geometry, tokens = estimated(f"{model}/all", frames, model)
        assert geometry.settings["estimated_frames"] == chosen
        assert any("4 of 14 frames (29%)" in note for note in summary.notes)
        places = np.searchsorted(chosen, np.arange(14), side="right") - 1
        np.testing.assert_array_equal(geometry.depth, np.asarray(geometry.depth)[np.array(chosen)[places]])
        _, few, tokens_of_few = estimated(f"{model}/few", frames[chosen], model)
        assert tokens == tokens_of_few
        np.testing.assert_array_equal(np.asarray(geometry.depth)[chosen], few.depth)
        np.testing.assert_array_equal(geometry.world_to_camera[chosen], few.world_to_camera)


def test_a_camera_that_moves_is_estimated_in_every_frame(
    nested: Callable[..., DepthAnything3], clip: VideoInfo, tmp_path: Path
) -> None:
    _, geometry, _ = run(nested(), clip, tmp_path)
    assert "estimated_frames" not in geometry.settings
    assert sum(geometry.settings["windows"]) == 13
