"""The golden case ``render``: poses of orbits and dollies, the forward splat (``warper``), square points (``ply``)."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange

from inspatio.cameras import poses as cameras
from inspatio.cameras.cameras import Cameras
from inspatio.evaluation.golden import EXACT_TOLERANCE, GoldenCase, Measured, Outputs, compare
from inspatio.render import PointRenderer, Renderer, WarpRenderer

COVERAGE_TOLERANCE = 1e-3
"""Share of the pixels that may be covered in one and not in the other."""
COLOUR_TOLERANCE = 5e-3
"""Share of the pixels covered in both whose colour may differ by more than one step of 255."""


def poses(case: GoldenCase) -> dict[str, Measured]:
    """Camera-to-world of every frame's keyframe, as it is, without translation, and relative to the source camera."""
    manifest = case.manifest
    orbits = cameras.orbit(manifest["pitch_deg"], manifest["yaw_deg"], manifest["radius"])
    dollies = cameras.dolly(manifest["radius"])
    target = np.where(np.asarray(manifest["dolly"])[:, None, None], dollies, orbits)
    source = case.stored_input("source_c2w").double().numpy()
    got = {
        "orbit_c2w": target,
        "rotation_only_c2w": cameras.rotation_only(target),
        "relative_c2w": source @ target,
    }
    return {name: compare(torch.from_numpy(value), case.stored[name], EXACT_TOLERANCE) for name, value in got.items()}


def drawn(case: GoldenCase, renderer: Renderer) -> tuple[np.ndarray, np.ndarray]:
    """Frames ``t h w 3`` and coverage ``t h w`` of the case's clip."""
    image, depth, intrinsics = (case.stored_input(name).numpy() for name in ("image", "depth", "K"))
    source, target = (case.stored_input(name).double().numpy() for name in ("source_c2w", "target_c2w"))
    frames = np.rint((rearrange(image, "t c h w -> t h w c") + 1) * 127.5).astype(np.uint8)
    from_here, to_there = (Cameras.from_poses(cameras.invert(poses), intrinsics) for poses in (source, target))
    drawn = renderer.render(frames, depth[:, 0], from_here, to_there)
    return drawn.frames, drawn.masks > 0


def render(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """Renders and masks by the shares of pixels that differ, poses by the largest relative error."""
    measured: dict[str, Measured] = {}
    expected_warp = (rearrange(case.stored["render"].numpy(), "t c h w -> t h w c") + 1) * 127.5
    expected_warp_mask = case.stored["mask"].numpy()[:, 0] > 0
    expected_ply = case.stored["ply_render"].numpy().astype(np.float32)
    expected_ply_mask = case.stored["ply_mask"].numpy() > 0
    for renderer, names, expected, expected_mask in (
        (WarpRenderer(device), ("render", "mask"), expected_warp, expected_warp_mask),
        (PointRenderer(device), ("ply_render", "ply_mask"), expected_ply, expected_ply_mask),
    ):
        rendered, mask = drawn(case, renderer)
        both = mask & expected_mask
        differs = np.abs(rendered - expected).max(axis=-1)[both] > 1 + 1e-3
        measured[names[0]] = Measured(float(differs.mean()), COLOUR_TOLERANCE)
        measured[names[1]] = Measured(float((mask != expected_mask).mean()), COVERAGE_TOLERANCE)
    return {**measured, **poses(case)}
