"""Building blocks of procedural textures: lattice noise and operations on linear (red, green, blue)."""

from __future__ import annotations

import math

import numpy as np

from inspatio.jit import compiled


@compiled
def lattice_hash(i: int, j: int, k: int) -> float:
    """A lattice point's random number in 0..1."""
    x = np.uint32(i * 374761393 + j * 668265263 + k * 1440662683)
    x = np.uint32((x ^ (x >> np.uint32(13))) * np.uint32(1274126177))
    x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(2246822519))
    return (x ^ (x >> np.uint32(15))) / 4294967296.0


@compiled
def noise(x: float, y: float, z: float) -> float:
    """Smooth value noise in 0..1 with one feature per unit."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    i, j, k = int(fx), int(fy), int(fz)
    u, v, w = x - fx, y - fy, z - fz
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for a in range(2):
        for b in range(2):
            for c in range(2):
                weight = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
                total += weight * lattice_hash(i + a, j + b, k + c)
    return total


@compiled
def cloud(x: float, y: float, z: float) -> float:
    """Three octaves of noise, in 0..1."""
    return (4 * noise(x, y, z) + 2 * noise(2 * x, 2 * y, 2 * z + 7) + noise(4 * x, 4 * y, 4 * z + 13)) / 7


@compiled
def mix(a, b, t):
    """From colour a (t = 0) to colour b (t = 1)."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


@compiled
def scale(a, t):
    """A colour t times as bright."""
    return a[0] * t, a[1] * t, a[2] * t
