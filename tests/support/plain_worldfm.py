"""WorldFM written down once more, as plainly as its formulas: a golden set of any size to hold the project's code to.

Nothing of the models, samplers, panoramas or renderers of the package is used, only the rule that makes weights and
inputs of their names (``evaluation/golden.py``). float64 throughout, but for renders, which are of float32 points.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from inspatio.evaluation.golden import noise, weight

Weights = Mapping[str, np.ndarray]


def named_weights(prefix: str, shapes: Mapping[str, list[int]]) -> dict[str, np.ndarray]:
    return {key: weight(prefix + key, tuple(shape)).numpy().astype(np.float64) for key, shape in shapes.items()}


# --- the network


def network_keys(width: int, depth: int, mlp: int) -> dict[str, list[int]]:
    keys = {"x_embedder.proj.weight": [width, 4, 2, 2], "x_embedder.proj.bias": [width]}

    def linear(name: str, outputs: int, inputs: int) -> None:
        keys[f"{name}.weight"], keys[f"{name}.bias"] = [outputs, inputs], [outputs]

    linear("t_embedder.mlp.0", width, 256)
    linear("t_embedder.mlp.2", width, width)
    linear("t_block.1", 6 * width, width)
    for layer in range(depth):
        keys[f"blocks.{layer}.scale_shift_table"] = [6, width]
        linear(f"blocks.{layer}.attn.qkv", 3 * width, width)
        linear(f"blocks.{layer}.attn.proj", width, width)
        linear(f"blocks.{layer}.mlp.fc1", mlp, width)
        linear(f"blocks.{layer}.mlp.fc2", width, mlp)
    keys["final_layer.scale_shift_table"] = [2, width]
    linear("final_layer.linear", 32, width)
    linear("plucker_proj.0", width, 6)
    linear("plucker_proj.2", width, width)
    return keys


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def linear(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return np.einsum("...i,oi->...o", x, w[f"{name}.weight"]) + w[f"{name}.bias"]


def normed(x: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * (1 + scale) + shift


def positions(config: Mapping[str, Any], rows: int, columns: int) -> np.ndarray:
    base, quarter = config["input_size"] / 2, config["hidden_size"] // 4
    result = np.zeros((rows, columns, config["hidden_size"]))
    for i in range(rows):
        for j in range(columns):
            parts = []
            for place in (j / (columns / base), i / (rows / base)):
                angles = [place / config["pe_interpolation"] * 10000.0 ** (-k / quarter) for k in range(quarter)]
                parts += [np.sin(angles), np.cos(angles)]
            result[i, j] = np.concatenate(parts)
    return result.reshape(1, rows * columns, -1)


class PlainPRoPE:
    """The matrix of every token, built as a whole: block diagonal projections, then two rotations."""

    def __init__(
        self, viewmats: np.ndarray, lenses: np.ndarray | None, size: tuple[int, int], rows: int, columns: int, head: int
    ) -> None:
        self.projection, self.turn = [], []
        for row in range(rows):
            for view in range(3):
                p = np.array(viewmats[view], np.float64)
                if lenses is not None:
                    lens = np.eye(4)
                    lens[0, 0], lens[1, 1] = lenses[view][0, 0] / size[1], lenses[view][1, 1] / size[0]
                    lens[0, 2] = lenses[view][0, 2] / size[1] - 0.5
                    lens[1, 2] = lenses[view][1, 2] / size[0] - 0.5
                    p = lens @ p
                for column in range(columns):
                    self.projection.append(np.kron(np.eye(head // 8), p))
                    self.turn.append([self._rotation(place, head // 4) for place in (column, row)])

    @staticmethod
    def _rotation(place: int, size: int) -> np.ndarray:
        half, matrix = size // 2, np.zeros((size, size))
        for k in range(half):
            angle = place * 100.0 ** (-k / half)
            matrix[k, k] = matrix[half + k, half + k] = np.cos(angle)
            matrix[k, half + k], matrix[half + k, k] = np.sin(angle), -np.sin(angle)
        return matrix

    def _applied(self, x: np.ndarray, kind: str) -> np.ndarray:
        result = np.zeros_like(x)  # b heads n d
        half, quarter = x.shape[-1] // 2, x.shape[-1] // 4
        for token, (p, (by_column, by_row)) in enumerate(zip(self.projection, self.turn, strict=True)):
            matrix = np.zeros((x.shape[-1], x.shape[-1]))
            matrix[:half, :half] = {"q": p.T, "kv": np.linalg.inv(p), "o": p}[kind]
            back = kind == "o"
            matrix[half : half + quarter, half : half + quarter] = by_column.T if back else by_column
            matrix[half + quarter :, half + quarter :] = by_row.T if back else by_row
            result[:, :, token] = np.einsum("ij,bhj->bhi", matrix, x[:, :, token])
        return result

    def __call__(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self._applied(attend(self._applied(q, "q"), self._applied(k, "kv"), self._applied(v, "kv")), "o")


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    scores = np.einsum("bhid,bhjd->bhij", q, k) / np.sqrt(q.shape[-1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhij,bhjd->bhid", scores / scores.sum(-1, keepdims=True), v)


def plucker(viewmats: np.ndarray, lenses: np.ndarray, size: tuple[int, int], rows: int, columns: int) -> np.ndarray:
    features = []
    for row in range(rows):
        for view in range(3):
            rotation, translation = viewmats[view][:3, :3], viewmats[view][:3, 3]
            centre = -rotation.T @ translation
            for column in range(columns):
                pixel = [(column + 0.5) * size[1] / columns, (row + 0.5) * size[0] / rows, 1]
                ray = rotation.T @ np.linalg.inv(lenses[view]) @ pixel
                ray /= np.linalg.norm(ray)
                features.append(np.concatenate([np.cross(centre, ray), ray]))
    return np.array(features)


def network(
    w: Weights,
    config: Mapping[str, Any],
    latents: list[np.ndarray],
    times: list[int],
    prope: PlainPRoPE | None = None,
    rays: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The target's prediction ``b 8 h w``, and the tokens after the first layer."""
    joint = np.concatenate(latents, axis=3)
    count, _, height, width = joint.shape
    rows, columns, heads = height // 2, width // 2, config["num_heads"]
    patches = (
        joint.reshape(count, 4, rows, 2, columns, 2).transpose(0, 2, 4, 1, 3, 5).reshape(count, rows * columns, 16)
    )
    x = np.einsum("bni,oi->bno", patches, w["x_embedder.proj.weight"].reshape(-1, 16)) + w["x_embedder.proj.bias"]
    x = x + positions(config, rows, columns)
    if rays is not None:
        x = x + linear(w, "plucker_proj.2", silu(linear(w, "plucker_proj.0", rays)))[None]
    angles = np.array(times)[:, None] * np.exp(-np.log(10000.0) * np.arange(128) / 128)
    embedded = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)
    embedded = linear(w, "t_embedder.mlp.2", silu(linear(w, "t_embedder.mlp.0", embedded)))
    shared = linear(w, "t_block.1", silu(embedded)).reshape(-1, 6, config["hidden_size"])
    first = x
    for layer in range(config["depth"]):
        name = f"blocks.{layer}"
        shift1, scale1, gate1, shift2, scale2, gate2 = (w[f"{name}.scale_shift_table"] + shared).transpose(1, 0, 2)[
            :, :, None
        ]
        qkv = linear(w, f"{name}.attn.qkv", normed(x, shift1, scale1))
        q, k, v = (
            part.reshape(count, rows * columns, heads, -1).transpose(0, 2, 1, 3) for part in np.split(qkv, 3, -1)
        )
        y = (prope or attend)(q, k, v).transpose(0, 2, 1, 3).reshape(count, rows * columns, -1)
        x = x + gate1 * linear(w, f"{name}.attn.proj", y)
        hidden = linear(w, f"{name}.mlp.fc1", normed(x, shift2, scale2))
        hidden = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + gate2 * linear(w, f"{name}.mlp.fc2", hidden)
        first = x if layer == 0 else first
    shift, scale = (w["final_layer.scale_shift_table"] + embedded[:, None]).transpose(1, 0, 2)[:, :, None]
    out = linear(w, "final_layer.linear", normed(x, shift, scale)).reshape(count, rows, columns, 2, 2, 8)
    out = out.transpose(0, 5, 1, 3, 2, 4).reshape(count, 8, height, width)
    return out[..., : latents[0].shape[3]], first


def three_cameras() -> tuple[np.ndarray, np.ndarray]:
    """``world_to_camera`` and intrinsics of target, target and reference, in float32, as a set stores them."""
    lenses = np.array([[[50.0 + i, 0, 30 + i], [0, 45.0, 20], [0, 0, 1]] for i in range(3)])
    viewmats = np.tile(np.eye(4), (3, 1, 1))
    viewmats[2, :3, :3] = [[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]]
    viewmats[:, :3, 3] = [[0.2, 0.1, -0.3], [0.2, 0.1, -0.3], [-0.5, 0.3, 0.4]]
    return viewmats.astype(np.float32), lenses.astype(np.float32)


def network_case(
    tag: str, config: Mapping[str, Any], size: tuple[int, int], cameras: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[dict, dict[str, np.ndarray]]:
    keys = network_keys(config["hidden_size"], config["depth"], int(config["hidden_size"] * config["mlp_ratio"]))
    w = named_weights(f"{tag}.wfm.", keys)

    def given(suffix: str, count: int) -> list[np.ndarray]:
        names = (f"{tag}.wfm.{name}{suffix}" for name in ("x", "render", "reference"))
        return [noise(name, (count, 4, *size)).numpy().astype(np.float64) for name in names]

    pixels = (8 * size[0], 8 * size[1])
    viewmats, lenses = cameras or three_cameras()
    grid = (size[0] // 2, size[1] // 2)
    head = config["hidden_size"] // config["num_heads"]
    prope = PlainPRoPE(viewmats, lenses, pixels, *grid, head)
    poses_only = PlainPRoPE(viewmats, None, pixels, *grid, head)
    rays = plucker(viewmats.astype(np.float64), lenses.astype(np.float64), pixels, *grid)
    tensors = {"prope.viewmats": viewmats[None], "prope.Ks": lenses[None], "prope.image_hw": np.array([pixels], float)}
    for prefix, encoding in (("", None), ("prope.", prope)):
        for time in (999, 200):
            out, first = network(w, config, given("", 1), [time], encoding)
            tensors |= {f"{prefix}t{time}.out": out, f"{prefix}t{time}.block0": first}
    tensors["pos_embed"] = positions(config, grid[0], 3 * grid[1])
    tensors["batch2.out"] = network(w, config, given("2", 2), [999, 200])[0]
    tensors["prope_no_K.t999.out"] = network(w, config, given("", 1), [999], poses_only)[0]
    tensors["plucker.t999.out"] = network(w, config, given("", 1), [999], None, rays)[0]
    return {"config": dict(config), "latent_hw": list(size), "keys": keys}, tensors


# --- the autoencoder


def autoencoder_keys(config: Mapping[str, Any]) -> dict[str, list[int]]:
    keys: dict[str, list[int]] = {}
    widths, layers = config["block_out_channels"], config["layers_per_block"]

    def conv(name: str, inputs: int, outputs: int, size: int = 3) -> None:
        keys[f"{name}.weight"], keys[f"{name}.bias"] = [outputs, inputs, size, size], [outputs]

    def norm(name: str, channels: int) -> None:
        keys[f"{name}.weight"], keys[f"{name}.bias"] = [channels], [channels]

    def resnet(name: str, inputs: int, outputs: int) -> None:
        norm(f"{name}.norm1", inputs)
        conv(f"{name}.conv1", inputs, outputs)
        norm(f"{name}.norm2", outputs)
        conv(f"{name}.conv2", outputs, outputs)
        if inputs != outputs:
            conv(f"{name}.conv_shortcut", inputs, outputs, 1)

    def middle(name: str, channels: int) -> None:
        resnet(f"{name}.mid_block.resnets.0", channels, channels)
        resnet(f"{name}.mid_block.resnets.1", channels, channels)
        norm(f"{name}.mid_block.attentions.0.group_norm", channels)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            key = f"{name}.mid_block.attentions.0.{part}"
            keys[f"{key}.weight"], keys[f"{key}.bias"] = [channels, channels], [channels]

    for half, order, count, change in (
        ("encoder", widths, layers, "down"),
        ("decoder", widths[::-1], layers + 1, "up"),
    ):
        conv(f"{half}.conv_in", 3 if half == "encoder" else 4, order[0])
        before = order[0]
        for stage, channels in enumerate(order):
            name = f"{half}.{change}_blocks.{stage}"
            for layer in range(count):
                resnet(f"{name}.resnets.{layer}", before, channels)
                before = channels
            if stage < 3:
                conv(f"{name}.{change}samplers.0.conv", channels, channels)
        middle(half, order[-1] if half == "encoder" else order[0])
        norm(f"{half}.conv_norm_out", order[-1])
        conv(f"{half}.conv_out", order[-1], 8 if half == "encoder" else 3)
    conv("quant_conv", 8, 8, 1)
    conv("post_quant_conv", 4, 4, 1)
    return keys


class PlainAutoencoder:
    def __init__(self, prefix: str, config: Mapping[str, Any]) -> None:
        self.config, self.keys = config, autoencoder_keys(config)
        self.w = {key: torch.from_numpy(value) for key, value in named_weights(prefix, self.keys).items()}

    def _conv(self, name: str, x: torch.Tensor, **given: int) -> torch.Tensor:
        return F.conv2d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], **given)

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        groups = x.reshape(b, self.config["norm_num_groups"], -1)
        mean, variance = groups.mean(-1, keepdim=True), groups.var(-1, unbiased=False, keepdim=True)
        flat = ((groups - mean) / (variance + 1e-6).sqrt()).reshape(b, c, h, w)
        return flat * self.w[f"{name}.weight"][:, None, None] + self.w[f"{name}.bias"][:, None, None]

    def _resnet(self, name: str, x: torch.Tensor) -> torch.Tensor:
        y = self._norm(f"{name}.norm1", x)
        y = self._conv(f"{name}.conv1", y * y.sigmoid(), padding=1)
        y = self._norm(f"{name}.norm2", y)
        y = self._conv(f"{name}.conv2", y * y.sigmoid(), padding=1)
        return y + (self._conv(f"{name}.conv_shortcut", x) if f"{name}.conv_shortcut.weight" in self.w else x)

    def _middle(self, name: str, x: torch.Tensor) -> torch.Tensor:
        x = self._resnet(f"{name}.resnets.0", x)
        key = f"{name}.attentions.0"
        b, c, h, w = x.shape
        tokens = self._norm(f"{key}.group_norm", x).reshape(b, c, h * w).transpose(1, 2)
        q, k, v = (
            tokens @ self.w[f"{key}.{part}.weight"].T + self.w[f"{key}.{part}.bias"]
            for part in ("to_q", "to_k", "to_v")
        )
        y = torch.softmax(q @ k.transpose(1, 2) / c**0.5, dim=-1) @ v
        y = y @ self.w[f"{key}.to_out.0.weight"].T + self.w[f"{key}.to_out.0.bias"]
        return self._resnet(f"{name}.resnets.1", x + y.transpose(1, 2).reshape(b, c, h, w))

    def moments(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self._conv("encoder.conv_in", images.double(), padding=1)
        for stage in range(4):
            for layer in range(self.config["layers_per_block"]):
                x = self._resnet(f"encoder.down_blocks.{stage}.resnets.{layer}", x)
            if stage < 3:
                padded = torch.zeros(*x.shape[:2], x.shape[2] + 1, x.shape[3] + 1, dtype=x.dtype)
                padded[:, :, :-1, :-1] = x
                x = self._conv(f"encoder.down_blocks.{stage}.downsamplers.0.conv", padded, stride=2)
        x = self._norm("encoder.conv_norm_out", self._middle("encoder.mid_block", x))
        both = self._conv("quant_conv", self._conv("encoder.conv_out", x * x.sigmoid(), padding=1))
        return both[:, :4], both[:, 4:].clamp(-30, 20)

    def latents(self, images: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        mean, log_variance = self.moments(images)
        return self.config["scaling_factor"] * (mean if noise is None else mean + (log_variance / 2).exp() * noise)

    def decoded(self, latents: torch.Tensor) -> torch.Tensor:
        x = self._conv("post_quant_conv", latents.double() / self.config["scaling_factor"])
        x = self._middle("decoder.mid_block", self._conv("decoder.conv_in", x, padding=1))
        for stage in range(4):
            for layer in range(self.config["layers_per_block"] + 1):
                x = self._resnet(f"decoder.up_blocks.{stage}.resnets.{layer}", x)
            if stage < 3:
                x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
                x = self._conv(f"decoder.up_blocks.{stage}.upsamplers.0.conv", x, padding=1)
        x = self._norm("decoder.conv_norm_out", x)
        return self._conv("decoder.conv_out", x * x.sigmoid(), padding=1)


def autoencoder_case(
    tag: str, config: Mapping[str, Any], size: tuple[int, int]
) -> tuple[dict, dict[str, torch.Tensor]]:
    model = PlainAutoencoder(f"{tag}.wfv.", config)
    image = noise(f"{tag}.wfv.image", (1, 3, *size)).clamp(-1, 1)
    latent = noise(f"{tag}.wfv.latent", (1, 4, size[0] // 8, size[1] // 8))
    mean, log_variance = model.moments(image)
    tensors = {"mean": mean, "logvar": log_variance, "latent": model.latents(image)}
    tensors |= {"decoded": model.decoded(tensors["latent"]), "decoded_noise": model.decoded(latent)}
    return {"config": dict(config), "keys": model.keys}, tensors


# --- the sampler


def sample_case(
    tag: str, config: Mapping[str, Any], vae_config: Mapping[str, Any], side: int, steps: tuple[int, int]
) -> tuple[dict, dict[str, Any]]:
    keys = network_keys(config["hidden_size"], config["depth"], int(config["hidden_size"] * config["mlp_ratio"]))
    w, vae = named_weights(f"{tag}.wfs.dit.", keys), PlainAutoencoder(f"{tag}.wfs.vae.", vae_config)
    random = np.random.default_rng(5)
    smooth = Image.fromarray(random.integers(0, 256, (6, 7, 3)).astype(np.uint8))
    render = np.asarray(smooth.resize((side, side), Image.Resampling.BICUBIC))
    reference = np.asarray(smooth.resize((side + 24, side + 12), Image.Resampling.BICUBIC))
    ratio = side / (side + 12)
    covering = (round((side + 24) * ratio), round((side + 12) * ratio))
    scaled = np.asarray(Image.fromarray(reference).resize(covering, Image.Resampling.BICUBIC))
    left = round((covering[0] - side) / 2)
    pictures = {"render": render, "reference": scaled[:, left : left + side]}
    shape = (1, 4, side // 8, side // 8)
    noises = [noise(f"{tag}.wfs.{name}", shape).double() for name in ("z", "mid")]
    betas = [1e-4 + (0.02 - 1e-4) * i / 999 for i in range(1000)]
    abar = np.cumprod([1 - beta for beta in betas])
    tensors: dict[str, Any] = {
        "render_u8": torch.from_numpy(render.copy()),
        "reference_u8": torch.from_numpy(reference.copy()),
        "alphas_cumprod": abar,
        "signal_and_noise": np.array([[abar[step] ** 0.5, (1 - abar[step]) ** 0.5] for step in steps]),
    }
    images = {}
    for name, picture in pictures.items():
        images[name] = torch.from_numpy(picture.astype(np.float64) / 127.5 - 1).permute(2, 0, 1)[None]
        tensors[f"cond_{name}"] = images[name]
    for kind in ("mode", "sample"):
        given = {}
        for name in ("render", "reference"):
            drawn = noise(f"{tag}.wfs.{name}_noise", shape).double() if kind == "sample" else None
            given[name] = vae.latents(images[name].float(), drawn)
            tensors[f"{kind}.cond_{name}_latent"] = given[name]
        for count in (1, 2):
            prefix, x, clean = f"step{count}.{kind}", noises[0], noises[0]
            for number in range(count):
                signal, amount = abar[steps[number]] ** 0.5, (1 - abar[steps[number]]) ** 0.5
                if number:
                    x = signal * clean + amount * noises[1]
                    tensors[f"{prefix}.noisy"] = x
                latents = [each.numpy() for each in (x, given["render"], given["reference"])]
                predicted = torch.from_numpy(network(w, config, latents, [steps[number]])[0][:, :4].copy())
                tensors[f"{prefix}.network{number}"] = predicted
                clean = signal * x - amount * predicted
            image = vae.decoded(clean)
            levels = torch.floor(127.5 * image[0] + 127.5 + 0.5).clamp(0, 255)
            tensors |= {f"{prefix}.latent": clean, f"{prefix}.image": image}
            tensors[f"{prefix}.image_u8"] = levels.permute(1, 2, 0).to(torch.uint8).contiguous()
    entry = {"config": dict(config), "vae_config": dict(vae_config), "image_size": side, "time_steps": list(steps)}
    return entry | {"keys": keys, "vae_keys": vae.keys}, tensors


# --- panorama to conditions


def looking(yaw: float, pitch: float) -> np.ndarray:
    """camera_to_world of a reference view, by angles in degrees."""
    y, p = np.radians(yaw), np.radians(pitch)
    forward = np.array([np.cos(y) * np.cos(p), np.sin(p), np.sin(y) * np.cos(p)])
    right = np.cross(forward, [0, 1, 0])
    right = right / np.linalg.norm(right) if np.linalg.norm(right) > 1e-6 else np.array([0.0, 0, 1])
    flip, pose = np.diag([1.0, -1, -1]), np.eye(4)
    pose[:3, :3] = flip @ np.stack([right, np.cross(right, forward), -forward], axis=1) @ flip
    return pose


def points_of(image: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = distance.shape
    y, x = np.mgrid[:height, :width]
    theta, phi = 2 * np.pi * x / width - np.pi, np.pi * y / height
    rays = np.stack([np.sin(phi) * np.cos(theta), -np.cos(phi), -np.sin(phi) * np.sin(theta)], -1)
    return (rays * distance[..., None]).reshape(-1, 3).astype(np.float32), image.reshape(-1, 3)


def cut_view(image: np.ndarray, pose: np.ndarray, focal: float, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    result = np.zeros((side, side, 3), np.uint8)
    for v in range(side):
        for u in range(side):
            x, y, z = pose[:3, :3] @ [(u - side / 2) / focal, (v - side / 2) / focal, 1.0]
            column = (np.arctan2(-z, x) + np.pi) / (2 * np.pi) * width % width
            row = min(np.arccos(-y / np.sqrt(x * x + y * y + z * z)) / np.pi * height, height - 1e-6)
            i, j = int(row), int(column)
            a, b, below, right = row - i, column - j, min(i + 1, height - 1), (j + 1) % width
            j %= width
            top = image[i, j] * (1 - b) + image[i, right] * b
            value = top * (1 - a) + (image[below, j] * (1 - b) + image[below, right] * b) * a
            result[v, u] = (value + 0.5).astype(np.uint8)
    return result


def draw(
    points: np.ndarray, colours: np.ndarray, pose: np.ndarray, lens: np.ndarray, side: int, *, half: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture, depth and softmin picture of one pixel a point; ``pose`` is world_to_camera."""
    kind = np.float16 if half else np.float32
    rotation, translation = pose[:3, :3].astype(kind), pose[:3, 3].astype(kind)
    moved = (points.astype(kind).astype(np.float32) @ rotation.astype(np.float32).T).astype(kind) + translation
    x, y, z = moved.astype(np.float32).T
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = np.rint(lens[0, 0] * x / z + lens[0, 2]), np.rint(lens[1, 1] * y / z + lens[1, 2])
    depth = np.full((side, side), np.inf, np.float32)
    picture, soft = np.zeros((side, side, 3), np.uint8), np.zeros((side, side, 3), np.uint8)
    inside = (z > 1e-3) & (z < 1e6) & (u >= 0) & (u < side) & (v >= 0) & (v < side)
    landed: dict[tuple[int, int], list[int]] = {}
    for index in np.flatnonzero(inside).tolist():
        landed.setdefault((int(v[index]), int(u[index])), []).append(index)
    for pixel, members in landed.items():
        depth[pixel] = z[members].min()
        picture[pixel] = colours[[i for i in members if z[i] <= depth[pixel] + 1e-4][-1]]
        weights = np.exp(-500.0 * (z[members] - depth[pixel]).astype(np.float64))
        soft[pixel] = (weights @ colours[members] / weights.sum()).astype(np.uint8)
    return picture, np.where(np.isfinite(depth), depth, 0).astype(np.float32), soft


def chosen_view(
    depth: np.ndarray,
    lens: np.ndarray,
    pose: np.ndarray,
    view_depth: np.ndarray,
    view_lens: np.ndarray,
    views: np.ndarray,
) -> tuple[np.ndarray, int]:
    """Hits of each view, and the number of samples."""
    side = len(depth)
    low, high = round(0.25 * (side - 1)), round(0.75 * (side - 1))
    outer = np.rint(np.linspace(0, side - 1, 10)).astype(int)
    inner = np.rint(np.linspace(0.25 * (side - 1), 0.75 * (side - 1), 15)).astype(int)
    samples = {(a, b) for a in outer for b in outer if not (low <= a <= high and low <= b <= high)}
    samples |= {(a, b) for a in inner for b in inner}
    seen = [(row, column) for row, column in samples if depth[row, column] > 0]
    hits = np.zeros(len(views), np.int64)
    for row, column in seen:
        z = float(depth[row, column])
        point = np.linalg.inv(lens) @ [column * z, row * z, z]
        point = np.linalg.inv(pose) @ [*point, 1.0]
        for index, view in enumerate(views):
            x = view_lens @ (view @ point)[:3]
            if x[2] > 0:
                u, v = np.rint(x[0] / x[2]), np.rint(x[1] / x[2])
                if 0 <= u < side and 0 <= v < side:
                    there = view_depth[index, int(v), int(u)]
                    hits[index] += there > 0 and abs(there - x[2]) < 0.02 * x[2]
    return hits, len(seen)


def conditions_case(image: np.ndarray, distance: np.ndarray, side: int, view_side: int) -> tuple[dict, dict[str, Any]]:
    """``distance`` is of every pixel of ``image``; the views' side is another than the renders'."""
    points, colours = points_of(image, distance)
    angles = [(yaw, pitch) for pitch in (0, 45, -45, 30, -30) for yaw in (0, 45, 90, 135, 180, -135, -90, -45)]
    poses = np.stack([looking(yaw, pitch) for yaw, pitch in [*angles, (0, 90), (0, -90)]])
    views = np.linalg.inv(poses)
    focal = 320 / 504 * view_side
    lens = np.array([[focal, 0, view_side / 2], [0, focal, view_side / 2], [0, 0, 1]])
    scaled = np.diag([side / view_side, side / view_side, 1]) @ lens
    target_lens = np.array([[0.6 * side, 0, side / 2], [0, 0.6 * side, side / 2], [0, 0, 1.0]])
    target_poses = np.stack([looking(yaw, pitch) for yaw, pitch in ((0, 0), (20, 5), (-70, 25), (150, -20))])
    target_poses[:, :3, 3] = [[0, 0, 0], [0.2, 0.05, -0.1], [-0.2, 0.1, 0.3], [0.1, -0.2, 0.1]]
    target_poses = target_poses.astype(np.float32)
    targets = np.linalg.inv(target_poses.astype(np.float64))
    holes = distance[::2, ::2] / 100
    holes = np.where(np.random.default_rng(3).uniform(size=holes.shape) < 0.1, 0, holes).astype(np.float32)
    tensors: dict[str, Any] = {
        "pano_rgb": image,
        "depth": distance,
        "depth_holes": holes,
        "depth_prepared": prepared_depth(holes * 100, distance.shape),
        "xyz": points,
        "rgb": colours,
        "condition_images": np.stack([cut_view(image, pose, focal, view_side) for pose in poses]),
        "condition_K": lens,
        "condition_c2w": poses,
        "condition_P": scaled @ views[:, :3],
        "target_K": target_lens,
        "target_c2w": target_poses,
    }
    target_lens = target_lens.astype(np.float32).astype(np.float64)
    for prefix, half in (("", False), ("half.", True)):
        # The public code draws the views with their own intrinsics, not with the scaled ones.
        own_lens = lens.astype(np.float32).astype(np.float64)
        view_depth = np.stack([draw(points, colours, view, own_lens, side, half=half)[1] for view in views])
        drawn = [draw(points, colours, pose, target_lens, side, half=half) for pose in targets]
        found = [
            chosen_view(depth, target_lens, pose, view_depth, scaled, views)
            for (_, depth, _), pose in zip(drawn, targets, strict=True)
        ]
        tensors[f"{prefix}render"] = np.stack([each[0] for each in drawn])
        tensors[f"{prefix}render_depth"] = np.stack([each[1] for each in drawn])
        tensors[f"{prefix}hits"] = np.stack([hits for hits, _ in found])
        tensors[f"{prefix}chosen"] = np.array([[np.argmax(hits), hits.max(), count] for hits, count in found])
        if not half:
            tensors["softmin.render"] = np.stack([each[2] for each in drawn])
            tensors["condition_depth"] = view_depth[[0, 3, 9, 22, 40, 41]]
    return {"render_size": side, "condition_size": view_side}, tensors


def prepared_depth(holes: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Twice the size by a bilinear filter that leaves holes out; what has no value near it gets the largest."""
    valid = (holes > 0).astype(np.float64)
    result = np.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            total = value = 0.0
            for i, a in weights_at(row, size[0], len(holes)):
                for j, b in weights_at(column, size[1], holes.shape[1]):
                    total += a * b * valid[i, j]
                    value += a * b * valid[i, j] * holes[i, j]
            result[row, column] = value / total if total > 1e-6 else 0
    return np.where(result > 0, result, result.max())


def weights_at(place: int, size: int, source: int) -> list[tuple[int, float]]:
    middle = (place + 0.5) * source / size - 0.5
    low = int(np.floor(middle))
    pairs = ((low, 1 - (middle - low)), (low + 1, middle - low))
    return [(min(max(index, 0), source - 1), share) for index, share in pairs]


def write_set(folder: Path, tag: str, cases: Mapping[str, tuple[dict, Mapping[str, Any]]]) -> None:
    """A golden set's folder; numbers are stored in float32, pictures and counts as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, tensors) in cases.items():
        stored = {key: torch.as_tensor(np.ascontiguousarray(value)) for key, value in tensors.items()}
        save_file(
            {key: value.float() if value.is_floating_point() else value.clone() for key, value in stored.items()},
            folder / f"{name}.safetensors",
        )
    entries = {name: entry for name, (entry, _) in cases.items()}
    (folder / "manifest.json").write_text(json.dumps({"tag": tag, "cases": entries}))
