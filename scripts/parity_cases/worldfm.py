"""Golden cases of WorldFM: network, autoencoder, sampler and conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_cases.wan import load_half
from torch import nn
from torch.nn import functional as F

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert
from inspatio.evaluation.golden import GoldenCase, Measured, Outputs, compare
from inspatio.generation.worldfm.pictures import to_frames, to_images
from inspatio.generation.worldfm.references import ReferenceViews
from inspatio.generation.worldfm.sampler import alphas_cumprod, sample_frames, signal_and_noise
from inspatio.geometry import panorama, panorama_depth
from inspatio.models.worldfm.autoencoder import ImageDecoder, ImageEncoder, working_dtype
from inspatio.models.worldfm.camera_encoding import ViewCameras
from inspatio.models.worldfm.checkpoint import make_network, parse_autoencoder_config, parse_config
from inspatio.models.worldfm.dit import CameraEncoding, WorldFM, positions
from inspatio.render.points import splat_points

STEPS = (999, 200)
TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 2e-2}
"""Allowed max |got - expected| / max |expected|, by the precision of the transformer."""
U8_TOLERANCE = {torch.float32: 1, torch.float16: 4, torch.bfloat16: 8}
"""Levels of 255 that a result may be off by, likewise."""


def _network(
    case: GoldenCase, prefix: str, device: torch.device, dtype: torch.dtype, encoding: CameraEncoding = "none"
) -> WorldFM:
    config = parse_config({**case.manifest["config"], "camera_encoding": encoding})
    return make_network(case.weights(prefix), config, source=Path("golden set")).place(device, dtype)


def _after_block0(network: WorldFM) -> list[torch.Tensor]:
    """A list that receives the tokens after the first layer, at every pass: all of them, also where it is the last."""
    found: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        x, modulation, prope, target = inputs
        found.append(output if target is None else module.forward(x, modulation, prope))

    next(network.blocks.children()).register_forward_hook(keep)
    return found


def dit(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """The network with each kind of camera encoding, at the steps of the sampler, and a batch of two steps."""
    height, width = case.manifest["latent_hw"]
    latents = {
        name: case.noise(f"wfm.{name}", (2 if name.endswith("2") else 1, 4, height, width)).to(device)
        for name in ("x", "render", "reference", "x2", "render2", "reference2")
    }
    poses, lenses = (case.stored_input(f"prope.{name}").to(device) for name in ("viewmats", "Ks"))
    size = tuple(int(side) for side in case.stored_input("prope.image_hw").flatten())
    assert len(size) == 2, f"prope.image_hw {size}, expected two sides"
    cameras, poses_only = ViewCameras(poses, lenses, size), ViewCameras(poses, None, size)

    def run(network: WorldFM, times: list[int], cameras: ViewCameras | None = None, suffix: str = "") -> torch.Tensor:
        given = (latents[f"{name}{suffix}"] for name in ("x", "render", "reference"))
        return network(*given, network.time_modulation(torch.tensor(times)), cameras)

    plain = _network(case, "wfm.", device, dtype)
    prope = _network(case, "wfm.", device, dtype, "prope")
    plucker = _network(case, "wfm.", device, dtype, "plucker")
    outputs = {
        "pos_embed": positions(plain.config, height // 2, 3 * width // 2),
        "batch2.out": run(plain, list(STEPS), suffix="2"),
        "prope_no_K.t999.out": run(prope, [999], poses_only),
        "plucker.t999.out": run(plucker, [999], cameras),
    }
    for prefix, network, given in (("", plain, None), ("prope.", prope, cameras)):
        tokens = _after_block0(network)
        for time in STEPS:
            outputs[f"{prefix}t{time}.out"] = run(network, [time], given)
            if f"{prefix}t{time}.block0" in case.stored:
                outputs[f"{prefix}t{time}.block0"] = tokens[-1]
    return _compared(case, outputs, dtype)


def _compared(case: GoldenCase, outputs: Outputs, dtype: torch.dtype) -> Outputs:
    """The outputs held against the stored tensors at this model's own tolerance."""
    return {
        name: value
        if isinstance(value, Measured) or name not in case.stored
        else compare(value, case.stored[name], TOLERANCES[dtype])
        for name, value in outputs.items()
    }


def _autoencoder(
    case: GoldenCase, config: str, keys: str, prefix: str, device: torch.device, dtype: torch.dtype
) -> tuple[ImageEncoder, ImageDecoder]:
    parsed = parse_autoencoder_config(case.manifest[config])
    shapes = {key: tuple(shape) for key, shape in case.manifest[keys].items()}
    weights = case.weights(prefix, shapes)
    encoder, decoder = ImageEncoder(parsed), ImageDecoder(parsed)
    halves: list[tuple[nn.Module, tuple[str, ...]]] = [
        (encoder, ("decoder.", "post_quant_conv.")),
        (decoder, ("encoder.", "quant_conv.")),
    ]
    for half, other in halves:
        load_half(half, weights, other, device, working_dtype(dtype))
    return encoder, decoder


def vae(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """The encoder's distribution and latents, and what the decoder makes of these and of noise."""
    encoder, decoder = _autoencoder(case, "config", "keys", "wfv.", device, dtype)
    height, width = case.stored["decoded"].shape[-2:]
    image = case.noise("wfv.image", (1, 3, height, width)).clamp(-1, 1).to(device)
    latents = encoder(image)
    mean, log_variance = encoder.distribution(image)
    noise = case.noise("wfv.latent", tuple(latents.shape)).to(device)
    outputs = {
        "mean": mean,
        "logvar": log_variance,
        "latent": latents,
        "decoded": decoder(case.stored["latent"].to(device)),
        "decoded_noise": decoder(noise),
    }
    return _compared(case, outputs, dtype)


def sample(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """Pictures to conditions to latents to pictures, in one step and in two, encoding by mean and by sample."""
    network = _network(case, "wfs.dit.", device, dtype)
    encoder, decoder = _autoencoder(case, "vae_config", "vae_keys", "wfs.vae.", device, dtype)
    size = (case.manifest["image_size"],) * 2
    pictures = {
        "render": _prepared_render(case.stored_input("render_u8").numpy(), size),
        "reference": _prepared_reference(case.stored_input("reference_u8").numpy(), size),
    }
    steps = tuple(case.manifest["time_steps"])
    latent = (1, 4, size[0] // 8, size[1] // 8)
    noises = [case.noise(f"wfs.{name}", latent).to(device) for name in ("z", "mid")]
    outputs: dict[str, torch.Tensor | Measured] = {
        "alphas_cumprod": alphas_cumprod(),
        "signal_and_noise": torch.tensor([signal_and_noise(step) for step in steps]),
    }
    prepared = {name: picture.to(device) for name, picture in pictures.items()}
    for name, picture in prepared.items():
        # Scaled by another library and rounded to 8 bits: one of 255 levels is allowed.
        levels = 127.5 * (picture.cpu() - case.stored[f"cond_{name}"]).abs().max().item()
        outputs[f"cond_{name}"] = Measured(round(levels, 3), 1)
    schedule = [network.time_modulation(torch.tensor([step])) for step in steps]

    def run(prefix: str, conditions: list[torch.Tensor], count: int) -> torch.Tensor:
        def predict(noisy: torch.Tensor, number: int) -> torch.Tensor:
            predicted = network(noisy, *conditions, schedule[number])[:, :4]
            if number > 0:
                outputs[f"{prefix}.noisy"] = noisy
            outputs[f"{prefix}.network{number}"] = predicted
            return predicted

        return sample_frames(predict, noises.__getitem__, steps[:count])

    for kind in ("mode", "sample"):
        conditions = []
        for name in ("render", "reference"):
            noise = case.noise(f"wfs.{name}_noise", latent).to(device) if kind == "sample" else None
            conditions.append(encoder(case.stored[f"cond_{name}"].to(device), noise))
            outputs[f"{kind}.cond_{name}_latent"] = conditions[-1]
        for count in (1, 2):
            prefix = f"step{count}.{kind}"
            latents = outputs[f"{prefix}.latent"] = run(prefix, conditions, count)
            images = outputs[f"{prefix}.image"] = decoder(latents)
            expected = case.stored[f"{prefix}.image_u8"].int()
            error = (to_frames(images)[0].cpu().int() - expected).abs().max().item()
            outputs[f"{prefix}.image_u8"] = Measured(error, U8_TOLERANCE[dtype])
    return _compared(case, outputs, dtype)


def conditions(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """A panorama to points, reference views, renders and the choice of the reference, as the public code has them."""
    image, distance = (case.stored_input(name).numpy() for name in ("pano_rgb", "depth"))
    side, view_side = case.manifest["render_size"], case.manifest["condition_size"]
    size = (side, side)
    xyz, rgb = panorama.published_points(image, distance)
    holes = case.stored_input("depth_holes").numpy() * 100
    outputs: dict[str, torch.Tensor | Measured] = {
        "xyz": _exact(case, "xyz", xyz, 1e-5),
        "rgb": _exact(case, "rgb", rgb, 0),
        "depth_prepared": _exact(case, "depth_prepared", panorama.fill_holes(holes, distance.shape, "golden"), 1e-5),
    }

    # Reference views: pictures of their own size; their intrinsics scaled to the render's.
    lens = case.stored["condition_K"].numpy().astype(np.float64)
    poses = panorama.view_poses()
    world_to_camera = invert(poses)
    pictures = [
        (panorama.sample_view(image, pose, lens, (view_side, view_side), published=True) + 0.5).astype(np.uint8)
        for pose in world_to_camera
    ]
    scaled = np.diag([side / view_side, side / view_side, 1.0]) @ lens
    focal = panorama.VIEW_FOCAL * view_side
    outputs |= {
        "condition_K": _exact(
            case, "condition_K", np.array([[focal, 0, view_side / 2], [0, focal, view_side / 2], [0, 0, 1]]), 1e-6
        ),
        "condition_c2w": _exact(case, "condition_c2w", poses, 1e-5),
        "condition_P": _exact(case, "condition_P", scaled @ world_to_camera[:, :3], 1e-5),
        "condition_images": _levels(case, "condition_images", np.stack(pictures), 1.0),
    }

    if "moge.distance" in case.stored:
        outputs |= _merged(case, image, distance)

    # Renders of the targets and the choice, from points in float32 and, as the pipeline runs by default, in float16.
    target_lens = case.stored_input("target_K").numpy().astype(np.float64)
    targets = invert(case.stored_input("target_c2w").numpy().astype(np.float64))
    for prefix, half in (("", False), ("half.", True)):

        def draw(pose: np.ndarray, intrinsics: np.ndarray, half=half) -> tuple[np.ndarray, np.ndarray]:
            moved = _in_camera(xyz, pose, half=half)
            picture, depth, _ = splat_points(moved, rgb, np.eye(4), intrinsics, size, near=1e-3, threads=1)
            return picture, depth

        # The published code draws the views' depth with their own intrinsics and looks it up with the scaled ones.
        view_depth = np.stack([draw(pose, lens)[1] for pose in world_to_camera])
        views = ReferenceViews(Cameras.from_poses(world_to_camera, scaled), view_depth)
        renders = [draw(pose, target_lens) for pose in targets]
        found = [views.hits(depth, target_lens, pose) for (_, depth), pose in zip(renders, targets, strict=True)]
        hits = np.stack([each for each, _ in found])
        chosen = np.array([[int(np.argmax(each)), int(each.max()), count] for each, count in found])
        share = 0.97 if half else 0.995
        wrong = [
            _wrong_pixels(_in_camera(xyz, pose, half=half), rgb, target_lens, picture, expected)
            for pose, (picture, _), expected in zip(
                targets, renders, case.stored[f"{prefix}render"].numpy(), strict=True
            )
        ]
        outputs[f"{prefix}render"] = Measured(float(np.mean(wrong)), round(1 - share, 6))
        depth = np.stack([each for _, each in renders])
        outputs[f"{prefix}render_depth"] = _share(case, f"{prefix}render_depth", depth, 1e-4, share)
        outputs[f"{prefix}hits"] = _exact(case, f"{prefix}hits", hits, 3 if half else 0, relative=False)
        columns = slice(0, 1) if half else slice(0, 3)
        outputs[f"{prefix}chosen"] = Measured(
            float(np.abs(chosen[:, columns] - case.stored[f"{prefix}chosen"].numpy()[:, columns]).max()), 0
        )
        if not half:
            blended = [_softmin(_in_camera(xyz, pose, half=False), rgb, target_lens, size) for pose in targets]
            outputs["softmin.render"] = _levels(case, "softmin.render", np.stack(blended), share)
            which = [0, 3, 9, 22, 40, 41]
            outputs["condition_depth"] = _share(case, "condition_depth", view_depth[which], 1e-4, share)
    return outputs


def _merged(case: GoldenCase, image: np.ndarray, distance: np.ndarray) -> Outputs:
    """The panorama's distance from views of it; a set need not have it."""
    cut = panorama_depth.split_cameras()
    which = [0, 10, 20, 30, 41]
    side = case.stored["moge.split"].shape[1]
    split = np.stack([panorama_depth.split_view(image, cut[i : i + 1], (side, side)) for i in which])
    merged = panorama_depth.merge_views(list(case.stored_input("moge.distance").numpy()), distance.shape)
    logs, expected_logs = np.log(merged), np.log(case.stored["moge.merged"].numpy())
    difference = (logs - logs.mean()) - (expected_logs - expected_logs.mean())
    return {
        "moge.extrinsics": _exact(case, "moge.extrinsics", cut.world_to_camera, 1e-5),
        "moge.intrinsics": _exact(case, "moge.intrinsics", cut.intrinsics[0], 1e-5),
        "moge.split": _levels(case, "moge.split", split, 1.0),
        "moge.merged": Measured(float(np.abs(difference).max()), 1e-2),
    }


def _in_camera(points: np.ndarray, world_to_camera: np.ndarray, *, half: bool) -> np.ndarray:
    """World points in a camera's coordinates, float32; ``half``: points, transform and result rounded to float16."""
    kind = np.float16 if half else np.float32
    rotation, translation = world_to_camera[:3, :3].astype(kind), world_to_camera[:3, 3].astype(kind)
    moved = points.astype(kind).astype(np.float32) @ rotation.astype(np.float32).T
    return (moved.astype(kind) + translation).astype(np.float32)


def _landed(points: np.ndarray, lens: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of points in a camera's coordinates those in its picture: their index, their pixel (row by row), and z."""
    z = points[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns, rows = (np.rint(lens[i, i] * points[:, i] / z + lens[i, 2]) for i in range(2))
        inside = (z > 1e-3) & (columns >= 0) & (columns < size[1]) & (rows >= 0) & (rows < size[0])
    index = np.flatnonzero(inside)
    return index, (rows[index] * size[1] + columns[index]).astype(np.int64), z[index]


def _nearest(pixels: np.ndarray, z: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    nearest = np.full(size[0] * size[1], np.inf, np.float32)
    np.minimum.at(nearest, pixels, z)
    return nearest


def _wrong_pixels(
    points: np.ndarray, colours: np.ndarray, lens: np.ndarray, got: np.ndarray, expected: np.ndarray
) -> np.ndarray:
    """Pixels of another colour than expected, unless a point of the expected one is as near (within 1e-4)."""
    size = got.shape[:2]
    index, pixels, z = _landed(points, lens, size)
    tied = z <= _nearest(pixels, z, size)[pixels] + 1e-4
    same = (np.abs(colours[index].astype(int) - expected.reshape(-1, 3)[pixels].astype(int)) <= 1).all(axis=1)
    allowed = np.zeros(size[0] * size[1], bool)
    allowed[pixels[tied & same]] = True
    differs = (np.abs(got.astype(int) - expected.astype(int)) > 1).any(axis=-1)
    return differs & ~allowed.reshape(size)


def _softmin(points: np.ndarray, colours: np.ndarray, lens: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The published class's other mode, which its pipeline does not use: colours blended by how near they are."""
    index, pixels, z = _landed(points, lens, size)
    weights = np.exp(-500.0 * (z - _nearest(pixels, z, size)[pixels]).astype(np.float64))
    total, blended = np.zeros(size[0] * size[1]), np.zeros((size[0] * size[1], 3))
    np.add.at(total, pixels, weights)
    np.add.at(blended, pixels, weights[:, None] * colours[index])
    return (blended / np.maximum(total, 1e-12)[:, None]).reshape(*size, 3).astype(np.uint8)


def _exact(case: GoldenCase, name: str, got: np.ndarray, tolerance: float, *, relative: bool = True) -> Measured:
    """The largest difference, relative to the largest value unless told otherwise."""
    expected = case.stored[name].numpy()
    if got.shape != expected.shape:
        return Measured(float("inf"), tolerance)
    error = np.abs(got.astype(np.float64) - expected.astype(np.float64)).max()
    return Measured(float(error / (np.abs(expected.astype(np.float64)).max() if relative else 1)), tolerance)


def _share(case: GoldenCase, name: str, got: np.ndarray, tolerance: float, share: float) -> Measured:
    """The share of pixels that are off by more than ``tolerance``, against the share that may be."""
    error = np.abs(got.astype(np.float64) - case.stored[name].numpy().astype(np.float64))
    wrong = (error if got.dtype != np.uint8 else error.max(axis=-1)) > tolerance
    return Measured(float(wrong.mean()), round(1 - share, 6))


def _levels(case: GoldenCase, name: str, got: np.ndarray, share: float) -> Measured:
    """The share of 8-bit pixels that are off by more than 1 of 255."""
    return _share(case, name, got, 1, share)


def _prepared_render(image: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """As :func:`_prepared_reference`, but by a cubic filter without antialiasing and without rounding, as published."""
    images = to_images(image[None], torch.device("cpu"))
    scaled = _covering(image, size)
    if scaled != image.shape[:2]:
        images = F.interpolate(images, scaled, mode="bicubic", align_corners=False)
    top, left = ((got - wanted) // 2 for got, wanted in zip(scaled, size, strict=True))
    return images[:, :, top : top + size[0], left : left + size[1]].contiguous()


def _prepared_reference(image: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """A picture ``h w 3`` as ``1 3 h w`` in -1..1 of (height, width) ``size``: scaled to cover it, cut at the centre.

    By an antialiased cubic filter, and rounded to 8 bits between scaling and cutting, as published.
    """
    images = to_images(image[None], torch.device("cpu"))
    scaled = _covering(image, size)
    if scaled != image.shape[:2]:
        images = F.interpolate(images, scaled, mode="bicubic", align_corners=False, antialias=True)
        images = (127.5 * (images + 1.0)).round().clamp(0, 255) / 127.5 - 1.0
    top, left = (round((got - wanted) / 2) for got, wanted in zip(scaled, size, strict=True))
    return images[:, :, top : top + size[0], left : left + size[1]].contiguous()


def _covering(image: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """The size to which a picture ``h w 3`` is scaled so that it covers (height, width) ``size``."""
    ratio = max(size[0] / image.shape[0], size[1] / image.shape[1])
    return round(image.shape[0] * ratio), round(image.shape[1] * ratio)
