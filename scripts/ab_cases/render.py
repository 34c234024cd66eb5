"""The forward splat of a chunk of frames by both codes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

import numpy as np
import torch
from ab_cases.setting import Setting, Work
from benches.render import CHUNK, YAW_DEG, made_up_scene

from inspatio.cameras import poses
from inspatio.cameras.cameras import Cameras, target_intrinsics
from inspatio.render import WarpRenderer, render_scene


def render(setting: Setting) -> tuple[Work, Work]:
    sys.path.insert(0, str(setting.public))
    spec = importlib.util.spec_from_file_location("public_render", setting.public / "scripts" / "render_point_cloud.py")
    assert spec is not None, "a file of that name has a loader"
    assert spec.loader is not None, "a file of that name has a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    warper = module.DepthWarper()
    scene = made_up_scene(CHUNK, setting.size)
    orbit = poses.invert(poses.orbit(0.0, np.linspace(0, YAW_DEG, CHUNK), scene.foreground_depth()))
    targets = Cameras.from_poses(orbit, target_intrinsics(scene.intrinsics[0], scene.size))
    frames, depth = scene.read_frames(range(CHUNK)), scene.read_depth(range(CHUNK))
    source = scene.cameras(range(CHUNK))
    renderer = WarpRenderer(setting.device)

    def run_public() -> Sequence[torch.Tensor]:
        def on_device(values: np.ndarray) -> torch.Tensor:
            return torch.tensor(values).to(setting.device, torch.float32)

        pictures = on_device(frames).permute(0, 3, 1, 2) / 127.5 - 1
        warped, seen = warper.forward_warp(
            pictures,
            None,
            on_device(depth)[:, None],
            on_device(source.world_to_camera),
            on_device(targets.world_to_camera),
            on_device(source.intrinsics),
            on_device(targets.intrinsics),
        )
        levels = ((warped + 1) * 127.5).round_().to(torch.uint8).permute(0, 2, 3, 1).cpu()
        return [levels, (seen[:, 0] * 255).to(torch.uint8).cpu()]

    def run_ours() -> Sequence[torch.Tensor]:
        made = render_scene(renderer, scene, 0, targets)
        return [torch.from_numpy(made.frames), torch.from_numpy(made.masks)]

    return run_public, run_ours
