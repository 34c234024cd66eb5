"""Compiled loops of patch-based completion; ``patches.py`` says what they compute and where it comes from."""

from __future__ import annotations

import numpy as np

from inspatio.render.jit import compiled

RADIUS = 3
"""A patch is 7 by 7 pixels."""
IGNORED, KNOWN, WANTED = 0, 1, 2
CHANNELS = 4
TRIES = 12


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
