"""Filling: known pixels stay, nothing new appears, and patterns go on."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from inspatio.generation.preview.inpaint import IGNORED, KNOWN, WANTED, complete_picture, diffuse


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_diffusion_keeps_what_is_known_and_stays_in_its_range(height: int, width: int, seed: int):
    rng = np.random.default_rng(seed)
    values = rng.uniform(-3, 7, (height, width, 2)).astype(np.float32)
    weights = (rng.uniform(size=(height, width)) < rng.uniform()).astype(np.float32)
    weights[rng.integers(height), rng.integers(width)] = 1
    filled = diffuse(values, weights)
    known = weights > 0
    assert np.abs(filled[known] - values[known]).max() < 1e-4
    for channel in range(2):
        assert filled[..., channel].min() >= values[known][:, channel].min() - 1e-3
        assert filled[..., channel].max() <= values[known][:, channel].max() + 1e-3


def test_diffusion_ignores_what_has_no_weight():
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, (37, 53)).astype(np.float32)
    weights = np.ones_like(values)
    weights[10:25, 10:40] = 0
    changed = values.copy()
    changed[10:25, 10:40] = 1e6
    assert np.array_equal(diffuse(values, weights), diffuse(changed, weights))


def stripes(height: int = 96, width: int = 160) -> np.ndarray:
    """Slanted stripes of three colours."""
    y, x = np.mgrid[:height, :width]
    phase = ((x + y // 2) // 8) % 3
    return np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)[phase]


def frame_state(height: int = 96, width: int = 160, margin: int = 14) -> np.ndarray:
    state = np.full((height, width), WANTED, np.uint8)
    state[margin:-margin, margin:-margin] = KNOWN
    return state


def test_a_pattern_goes_on_beyond_the_border():
    picture, state = stripes(), frame_state()
    seen = np.where((state == KNOWN)[..., None], picture, np.uint8(0))
    completed = complete_picture(seen, np.ones(state.shape, np.float32), state).softened()
    wanted = state == WANTED
    error = np.abs(completed.astype(int) - picture).mean(axis=-1)[wanted].mean()
    smooth = diffuse(seen.astype(np.float32), (state == KNOWN).astype(np.float32))
    smooth_error = np.abs(smooth - picture).mean(axis=-1)[wanted].mean()
    assert error < 0.8 * smooth_error


def test_completion_keeps_known_pixels_and_reads_no_others():
    rng = np.random.default_rng(1)
    picture, state = stripes(), frame_state()
    state[40:50, 60:80] = IGNORED
    depth = np.ones(state.shape, np.float32)
    completed = complete_picture(picture, depth, state).softened()
    assert np.array_equal(completed[state == KNOWN], picture[state == KNOWN])
    noisy = np.where((state == WANTED)[..., None], rng.integers(0, 255, picture.shape, dtype=np.uint8), picture)
    noisy[state == IGNORED] = 7
    again = complete_picture(noisy, depth, state).softened()
    assert np.array_equal(again[state == WANTED], completed[state == WANTED])


def test_pieces_come_from_things_equally_far():
    """A border that continues the far half of a picture is made of the far half."""
    picture = np.zeros((96, 160, 3), np.uint8)
    rng = np.random.default_rng(2)
    picture[:, :80] = rng.integers(150, 250, (96, 80, 1))
    picture[:, 80:] = rng.integers(0, 100, (96, 80, 1))
    inverse = np.where(np.arange(160) < 80, 1.0, 0.2).astype(np.float32) * np.ones((96, 1), np.float32)
    state = np.full((96, 160), KNOWN, np.uint8)
    state[:24] = WANTED
    completed = complete_picture(np.where((state == KNOWN)[..., None], picture, np.uint8(0)), inverse, state).softened()
    assert completed[:20, :60].min() > 100
    assert completed[:20, 100:].max() < 150
