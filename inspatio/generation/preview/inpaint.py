"""Fill holes of a picture: smoothly (:func:`diffuse`) or from its own patches (:func:`complete_picture`).

Patch-based completion works coarse to fine. Each level repeats two steps: find for every patch that touches a missing
pixel the most similar patch of the known part, and set the missing pixels to the mean of what the patches over them say
(Wexler et al. 2007, "Space-Time Completion of Video"). The search is by propagation and random tries (Barnes et al.
2009, "PatchMatch"), with numbers that depend on the place alone, so that the same input gives the same picture. Inverse
depth is a fourth channel: patches come from things as far away as what they continue, and so at the right scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.jit import compiled, on_pool
from inspatio.types import Image

RADIUS = 3
"""A patch is 7 by 7 pixels."""
IGNORED, KNOWN, WANTED = 0, 1, 2
CHANNELS = 4
TRIES = 12
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
_LEAST_WEIGHT = np.float32(1e-6)


def diffuse(values: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill missing values smoothly from known ones by push-pull interpolation (Gortler et al. 1996, "The Lumigraph").

    Known values are averaged down a pyramid; what is missing at one level comes from the next coarser one.

    ``values`` is ``h w`` or ``h w c`` float32; ``weights`` is ``h w``, 0 (missing, the value is ignored) to 1 (known).
    """
    levels = [(weighed(values.reshape(*weights.shape, -1), weights), weights)]
    while levels[-1][1].size > 1:
        levels.append((_halve_sums(levels[-1][0]), _halve_sums(levels[-1][1])))
    weighted, weight = levels.pop()
    filled = weighted / np.maximum(weight, _LEAST_WEIGHT)[..., None]
    for weighted, weight in reversed(levels):
        height, width, channels = weighted.shape
        filled = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, channels)
        blend(weighted, weight, filled)
    return filled.reshape(values.shape)


def _halve_sums(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Halve the size by the mean of four, scaled so that the weights of a pixel's surroundings add up."""
    height, width = image.shape[:2]
    halved = cv2.resize(image, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    return (2 * np.asarray(halved, np.float32)).reshape(*halved.shape[:2], *image.shape[2:])


@compiled
def weighed(values, weights):
    """``values`` (``h w c``) times ``weights`` (``h w``)."""
    height, width, channels = values.shape
    result = np.empty((height, width, channels), np.float32)
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                result[y, x, c] = values[y, x, c] * weights[y, x]
    return result


@compiled
def blend(weighted, weight, filled):
    """Go from ``filled`` (``h w c``, changed in place) to the mean of a level's known values, by its weight."""
    height, width, channels = weighted.shape
    for y in range(height):
        for x in range(width):
            amount = weight[y, x]
            if amount == 0:
                continue
            share = min(amount, np.float32(1))
            by = max(amount, _LEAST_WEIGHT)
            for c in range(channels):
                filled[y, x, c] += share * (weighted[y, x, c] / by - filled[y, x, c])


@dataclass(frozen=True, eq=False)
class Completion:
    """What is made up of a picture's missing pixels, in two ways: smoothly, and from the picture's own patches."""

    image: Image
    """``h w 3``: the picture; only its known pixels count."""
    state: NDArray[np.uint8]
    """``h w``: KNOWN, WANTED (to be made up) or IGNORED (just smooth)."""
    guide: NDArray[np.float32]
    """``h w``: inverse depth between its extremes, 0 to :data:`DEPTH_RANGE`."""
    smooth: NDArray[np.float32]
    """``h w 3``: the known pixels, spread smoothly."""
    patched: NDArray[np.uint8] | NDArray[np.float32]
    """``h w 3``: the wanted pixels from patches; :attr:`smooth` where nothing known is as large as a patch."""

    def distance(self) -> NDArray[np.float32]:
        """``h w``: pixels from the nearest known one."""
        return np.asarray(cv2.distanceTransform((self.state != KNOWN).astype(np.uint8), cv2.DIST_L2, 5))

    def softened(self) -> Image:
        """The completed picture: sharp near what is known, soft far out, where nothing is sure."""
        share = np.exp(-((self.distance() / SHARP_REACH) ** 2))[..., None]
        share[self.state != WANTED] = 0
        made_up = np.clip(self.smooth + share * (self.patched - self.smooth) + 0.5, 0, 255).astype(np.uint8)
        return np.where((self.state == KNOWN)[..., None], self.image, made_up)


def complete_picture(
    image: Image, inverse_depth: NDArray[np.float32], state: NDArray[np.uint8], threads: int = BANDS
) -> Completion:
    """Make up the pixels in ``state`` WANTED from those that are KNOWN; IGNORED ones are just smooth.

    ``inverse_depth`` (``h w``) must be there for the wanted pixels too.
    """
    known = (state == KNOWN).astype(np.float32)
    low, high = np.percentile(inverse_depth[state != IGNORED], (1, 99))
    guide = np.clip((inverse_depth - low) / max(high - low, 1e-9), 0, 1) * DEPTH_RANGE
    smooth = diffuse(image.astype(np.float32), known)
    picture = np.where(known[..., None] > 0, image, smooth)
    levels = [(np.concatenate([picture, guide[..., None]], axis=-1).astype(np.float32), known, state == WANTED)]
    while min(levels[-1][1].shape) >= 2 * COARSEST:
        levels.append(_halve(*levels[-1]))
    match = None
    result = None
    for number in range(len(levels) - 1, -1, -1):
        values, share, wanted = levels[number]
        at_level = np.where(share >= 0.999, KNOWN, np.where(wanted, WANTED, IGNORED)).astype(np.uint8)
        picture = np.clip(values + 0.5, 0, 255).astype(np.uint8)
        if result is not None:
            # What the coarser level made up is where this one starts.
            height, width = at_level.shape
            picture[..., :3] = np.where(
                (at_level == WANTED)[..., None], cv2.resize(result, (width, height)), picture[..., :3]
            )
        match = _complete_level(picture, at_level, match, number, threads)
        if match is None:
            return Completion(image, state, guide, smooth, smooth)
        result = np.ascontiguousarray(picture[..., :3])
    assert result is not None, "there is at least one level"
    return Completion(image, state, guide, smooth, result)


def _complete_level(
    picture: NDArray[np.uint8], state: NDArray[np.uint8], coarse: NDArray[np.int32] | None, number: int, threads: int
) -> NDArray[np.int32] | None:
    """Complete one level in place; returns the matches (``h w 2``, -1 for none), or None where there is no source."""
    patch = np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), np.uint8)
    usable = cv2.erode((state == KNOWN).astype(np.uint8), patch, borderValue=0)
    target = cv2.dilate((state == WANTED).astype(np.uint8), patch) & (state != IGNORED)
    sources = np.argwhere(usable > 0).astype(np.int32)
    if not len(sources):
        return None
    match = np.full((*state.shape, 2), -1, np.int32)
    if coarse is not None:
        refine(coarse, target, usable, match)
    home, range_ = _homes(state, number)
    rounds, searches = ROUNDS[min(number, len(ROUNDS) - 1)]
    if searches:
        begin(target, usable, sources, home, range_, match, number)
    else:
        # A random match would stay one: leave such pixels to the patches around them.
        target[match[..., 0] < 0] = 0
    cost = np.zeros(state.shape, np.float32)
    far = cv2.distanceTransform((state == WANTED).astype(np.uint8), cv2.DIST_L2, 3)
    trust = (TRUST_FADE ** np.minimum(far, 100)).astype(np.float32)
    height = state.shape[0]

    def sweep(i: int, first: int, last: int) -> None:
        score(picture, state, target, match, cost, first, last)
        for backward in (False, True) if i < searches else ():
            salt = 100 * i + 50 * backward
            improve(picture, state, target, usable, home, range_, match, cost, first, last, backward, salt)

    for i in range(rounds):
        # Always the same number of bands, whatever the number of threads; their borders shift from round to round.
        shift = height // BANDS * (i % 2) // 2
        borders = [0, *(height * k // BANDS - shift for k in range(1, BANDS)), height]
        bands = list(pairwise(borders))
        on_pool(lambda k, i=i, bands=bands: sweep(i, *bands[k]), BANDS, threads)
        typical = np.float32(cost[target > 0].mean() / 4 + 4)
        last = number == 0 and i == rounds - 1
        vote(picture, state, target, match, cost, trust, typical, 1 if last else RADIUS)
    return match


def _homes(state: NDArray[np.uint8], number: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For every pixel the nearest known one (``h w 2``), and how far from there its sources may be."""
    unknown = (state != KNOWN).astype(np.uint8)
    distance, labels = cv2.distanceTransformWithLabels(unknown, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(unknown == 0)
    table = np.zeros((labels.max() + 1, 2), np.int32)
    table[labels[rows, columns]] = np.stack([rows, columns], axis=-1)
    return table[labels], (RANGE / 2**number + RANGE_GROWTH * distance + RADIUS).astype(np.float32)


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


@compiled
def random(x, y, k):
    """A number in 0..1 that depends on nothing but the place and the number of the try."""
    # Products of 32-bit numbers have 64 bits here, so every step is cut back.
    h = np.uint32(x * 374761393 + y * 668265263 + k * 2246822519)
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(2246822519))
    return np.float32(h >> np.uint32(8)) * np.float32(2.0**-24)


@compiled
def distance(image, state, y, x, i, j, limit):
    """Mean squared difference of the patches around (y, x) and (i, j); gives up where it is sure to pass ``limit``."""
    height, width = state.shape
    top, bottom = max(-RADIUS, -y), min(RADIUS, height - 1 - y)
    left, right = max(-RADIUS, -x), min(RADIUS, width - 1 - x)
    total, count = np.int64(0), 0
    most = np.int64(min(limit, np.float32(1e9)) * ((bottom - top + 1) * (right - left + 1)))
    for dy in range(top, bottom + 1):
        for dx in range(left, right + 1):
            if state[y + dy, x + dx] == IGNORED:
                continue
            count += 1
            for c in range(CHANNELS):
                d = np.int32(image[y + dy, x + dx, c]) - np.int32(image[i + dy, j + dx, c])
                total += d * d
        if total > most:
            return np.float32(np.inf)
    return np.float32(total / max(count, 1))


@compiled
def begin(target, usable, sources, home, range_, match, salt):
    """A random source for every target patch that has none (-1), from around its home where there is one."""
    height, width = target.shape
    for y in range(height):
        for x in range(width):
            if not target[y, x] or match[y, x, 0] >= 0:
                continue
            for k in range(TRIES):
                i = home[y, x, 0] + int((2 * random(x, y, salt + k) - 1) * range_[y, x])
                j = home[y, x, 1] + int((2 * random(y, x, salt + k) - 1) * range_[y, x])
                if 0 <= i < height and 0 <= j < width and usable[i, j]:
                    match[y, x, 0], match[y, x, 1] = i, j
                    break
            if match[y, x, 0] < 0:
                k = min(int(random(x, y, salt) * len(sources)), len(sources) - 1)
                match[y, x, 0], match[y, x, 1] = sources[k, 0], sources[k, 1]


@compiled
def score(image, state, target, match, cost, first, last):
    """The distance of every target patch of some rows to its match."""
    _, width = target.shape
    for y in range(first, last):
        for x in range(width):
            if target[y, x]:
                cost[y, x] = distance(image, state, y, x, match[y, x, 0], match[y, x, 1], np.float32(1e9))


@compiled
def near(i, j, home, range_, height, width):
    """Whether (i, j) is in the image and within range of home."""
    return 0 <= i < height and 0 <= j < width and abs(i - home[0]) <= range_ and abs(j - home[1]) <= range_


@compiled
def improve(image, state, target, usable, home, range_, match, cost, first, last, backward, salt):
    """One sweep of propagation and random search over the target patches of some rows, in reading order or against it.

    No match outside the rows ``first`` .. ``last - 1`` is looked at, so that bands can be swept side by side. A source
    is at most ``range_`` pixels from the target's ``home``.
    """
    height, width = target.shape
    step = -1 if backward else 1
    for m in range(last - first):
        y = last - 1 - m if backward else first + m
        for n in range(width):
            x = width - 1 - n if backward else n
            if not target[y, x]:
                continue
            for k in range(2):
                a, b = (y - step, x) if k == 0 else (y, x - step)
                if first <= a < last and 0 <= b < width and target[a, b]:
                    i, j = match[a, b, 0] + y - a, match[a, b, 1] + x - b
                    if near(i, j, home[y, x], range_[y, x], height, width) and usable[i, j]:
                        d = distance(image, state, y, x, i, j, cost[y, x])
                        if d < cost[y, x]:
                            cost[y, x], match[y, x, 0], match[y, x, 1] = d, i, j
            reach = np.int64(range_[y, x])
            k = salt
            while reach >= 1:
                i = match[y, x, 0] + int((2 * random(x, y, k) - 1) * reach)
                j = match[y, x, 1] + int((2 * random(x, y, k + 1) - 1) * reach)
                if near(i, j, home[y, x], range_[y, x], height, width) and usable[i, j]:
                    d = distance(image, state, y, x, i, j, cost[y, x])
                    if d < cost[y, x]:
                        cost[y, x], match[y, x, 0], match[y, x, 1] = d, i, j
                reach //= 2
                k += 2


@compiled
def vote(image, state, target, match, cost, trust, typical, reach):
    """Give every wanted pixel the mean of what the patches over it say; good matches and trusted patches count more."""
    height, width = target.shape
    sums = np.zeros((height, width, 3), np.float32)
    total = np.zeros((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            if not target[y, x]:
                continue
            weight = trust[y, x] / (np.float32(1) + cost[y, x] / typical) ** 2
            for dy in range(max(-reach, -y), min(reach, height - 1 - y) + 1):
                for dx in range(max(-reach, -x), min(reach, width - 1 - x) + 1):
                    if state[y + dy, x + dx] == WANTED:
                        i, j = match[y, x, 0] + dy, match[y, x, 1] + dx
                        total[y + dy, x + dx] += weight
                        for c in range(3):
                            sums[y + dy, x + dx, c] += weight * image[i, j, c]
    for y in range(height):
        for x in range(width):
            if state[y, x] == WANTED and total[y, x] > 0:
                for c in range(3):
                    image[y, x, c] = np.uint8(sums[y, x, c] / total[y, x] + np.float32(0.5))


@compiled
def refine(coarse, target, usable, match):
    """Matches of twice the resolution from the coarser ones; -1 where the doubled source is no source here."""
    height, width = target.shape
    for y in range(height):
        for x in range(width):
            match[y, x, 0], match[y, x, 1] = -1, -1
            if not target[y, x]:
                continue
            a, b = min(y // 2, coarse.shape[0] - 1), min(x // 2, coarse.shape[1] - 1)
            if coarse[a, b, 0] < 0:
                continue
            i, j = 2 * coarse[a, b, 0] + y - 2 * a, 2 * coarse[a, b, 1] + x - 2 * b
            if 0 <= i < height and 0 <= j < width and usable[i, j]:
                match[y, x, 0], match[y, x, 1] = i, j
