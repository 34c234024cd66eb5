"""Completing a picture from its own patches: what is missing is copied, in overlapping pieces, from what is there.

Coarse to fine, each level repeats two steps: find for every patch that touches a missing pixel the most similar patch
of the known part, and set the missing pixels to the mean of what the patches over them say (Wexler et al. 2007,
"Space-Time Completion of Video"). The search is by propagation and random tries (Barnes et al. 2009, "PatchMatch"),
with numbers that depend on the place alone, so that the same input gives the same picture. Inverse depth is a fourth
channel: pieces come from things as far away as what they continue, and so at the right scale.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.generation.preview import patch_loops as loops
from inspatio.generation.preview.inpaint import diffuse
from inspatio.render.jit import on_threads
from inspatio.types import Image

ROUNDS = ((1, 0), (1, 1), (3, 3), (5, 5), (7, 7))
"""From the finest level to the coarsest: how often patches vote, and in how many of these rounds matches are sought."""
BANDS = 4
"""Rows are searched in so many bands side by side."""
COARSEST = 32
"""The shorter side, in pixels, below which no coarser level is made."""
DEPTH_RANGE = 200.0
"""What the full range of inverse depth counts for, in units of 8-bit colour."""
RANGE = 60.0
RANGE_GROWTH = 1.2
"""Pieces come from at most so many pixels (and so much of the distance to what is known) away from the nearest known
pixel: surfaces go on, but things that stand elsewhere are not seen twice."""
SHARP_REACH = 50.0
"""Pixels over which pieces give way to a smooth continuation."""
TRUST_FADE = 0.93
"""How much less a patch counts for each pixel that it is farther from what is known."""


def complete_picture(image: Image, inverse_depth: NDArray[np.float32], state: NDArray[np.uint8]) -> Image:
    """``h w 3`` with the pixels in ``state`` WANTED made up from those that are KNOWN; IGNORED ones are just smooth.

    ``inverse_depth`` (``h w``) must be there for the wanted pixels too.
    """
    known = (state == loops.KNOWN).astype(np.float32)
    low, high = np.percentile(inverse_depth[state != loops.IGNORED], (1, 99))
    guide = np.clip((inverse_depth - low) / max(high - low, 1e-9), 0, 1) * DEPTH_RANGE
    smooth = diffuse(image.astype(np.float32), known)
    picture = np.where(known[..., None] > 0, image, smooth)
    levels = [(np.concatenate([picture, guide[..., None]], axis=-1).astype(np.float32), known, state == loops.WANTED)]
    while min(levels[-1][1].shape) >= 2 * COARSEST:
        levels.append(_halve(*levels[-1]))
    match = None
    result = None
    for number in range(len(levels) - 1, -1, -1):
        values, known, wanted = levels[number]
        state = np.where(known >= 0.999, loops.KNOWN, np.where(wanted, loops.WANTED, loops.IGNORED)).astype(np.uint8)
        picture = np.clip(values + 0.5, 0, 255).astype(np.uint8)
        if result is not None:
            # What the coarser level made up is where this one starts.
            height, width = state.shape
            picture[..., :3] = np.where(
                (state == loops.WANTED)[..., None], cv2.resize(result, (width, height)), picture[..., :3]
            )
        match = _complete_level(picture, state, match, number)
        if match is None:
            # Nothing known is as large as a patch.
            return np.where(levels[0][1][..., None] > 0, image, np.clip(smooth + 0.5, 0, 255).astype(np.uint8))
        result = np.ascontiguousarray(picture[..., :3])
    assert result is not None, "there is at least one level"
    # The farther from what is known, the less sure: sharp nearby, soft far out.
    distance = cv2.distanceTransform((levels[0][1] == 0).astype(np.uint8), cv2.DIST_L2, 5)
    share = np.exp(-((distance / SHARP_REACH) ** 2))[..., None]
    share[~levels[0][2]] = 0
    softened = np.clip(smooth + share * (result - smooth) + 0.5, 0, 255).astype(np.uint8)
    return np.where(levels[0][1][..., None] > 0, image, softened)


def _complete_level(
    picture: NDArray[np.uint8], state: NDArray[np.uint8], coarse: NDArray[np.int32] | None, number: int
) -> NDArray[np.int32] | None:
    """Complete one level in place; returns the matches (``h w 2``, -1 for none), or None where there is no source."""
    patch = np.ones((2 * loops.RADIUS + 1, 2 * loops.RADIUS + 1), np.uint8)
    usable = cv2.erode((state == loops.KNOWN).astype(np.uint8), patch, borderValue=0)
    target = cv2.dilate((state == loops.WANTED).astype(np.uint8), patch) & (state != loops.IGNORED)
    sources = np.argwhere(usable > 0).astype(np.int32)
    if not len(sources):
        return None
    match = np.full((*state.shape, 2), -1, np.int32)
    if coarse is not None:
        loops.refine(coarse, target, usable, match)
    home, range_ = _homes(state, number)
    rounds, searches = ROUNDS[min(number, len(ROUNDS) - 1)]
    if searches:
        loops.begin(target, usable, sources, home, range_, match, number)
    else:
        # A random match would stay one: leave such pixels to the patches around them.
        target[match[..., 0] < 0] = 0
    cost = np.zeros(state.shape, np.float32)
    far = cv2.distanceTransform((state == loops.WANTED).astype(np.uint8), cv2.DIST_L2, 3)
    trust = (TRUST_FADE ** np.minimum(far, 100)).astype(np.float32)
    height = state.shape[0]

    def sweep(band: tuple[int, int, int]) -> None:
        i, first, last = band
        loops.score(picture, state, target, match, cost, first, last)
        for backward in (False, True) if i < searches else ():
            salt = 100 * i + 50 * backward
            loops.improve(picture, state, target, usable, home, range_, match, cost, first, last, backward, salt)

    for i in range(rounds):
        # Always the same number of bands, whatever the number of threads; their borders shift from round to round.
        shift = height // BANDS * (i % 2) // 2
        borders = [0, *(height * k // BANDS - shift for k in range(1, BANDS)), height]
        on_threads(sweep, [(i, first, last) for first, last in pairwise(borders)])
        typical = np.float32(cost[target > 0].mean() / 4 + 4)
        last = number == 0 and i == rounds - 1
        loops.vote(picture, state, target, match, cost, trust, typical, 1 if last else loops.RADIUS)
    return match


def _homes(state: NDArray[np.uint8], number: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For every pixel the nearest known one (``h w 2``), and how far from there its sources may be."""
    unknown = (state != loops.KNOWN).astype(np.uint8)
    distance, labels = cv2.distanceTransformWithLabels(unknown, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(unknown == 0)
    table = np.zeros((labels.max() + 1, 2), np.int32)
    table[labels[rows, columns]] = np.stack([rows, columns], axis=-1)
    return table[labels], (RANGE / 2**number + RANGE_GROWTH * distance + loops.RADIUS).astype(np.float32)


def _halve(
    values: NDArray[np.float32], known: NDArray[np.float32], wanted: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """The next coarser level. A pixel is known where most of it is, and then shows the known part alone."""
    height, width = known.shape
    size = ((width + 1) // 2, (height + 1) // 2)
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    mean = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    seen = (
        cv2.resize(values * known[..., None], size, interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-6)[..., None]
    )
    is_known = share >= 0.5
    any_wanted = cv2.resize(wanted.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    return np.where(is_known[..., None], seen, mean), is_known.astype(np.float32), any_wanted & ~is_known
