"""A small ray-caster for synthetic rooms: boxes, ellipsoids and cones in a room, soft light from a window.

All surfaces are matt, so a point has the same colour from everywhere and what a camera elsewhere would see can be
predicted exactly from a depth map; only what was hidden cannot. Room coordinates: x right, y into the room,
z up, metres. Everything is a pure function of its arguments: the same call gives the same bytes.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from inspatio.evaluation.synthetic_room.textures import GLOW, albedo
from inspatio.jit import compiled, compiled_parallel

BOX, ELLIPSOID, CONE = 0, 1, 2

KIND, CENTRE, HALF, AXES, MATERIAL, SEED, TAPER, REACH, COLUMNS = 0, 1, 4, 7, 16, 17, 18, 19, 20
"""Columns of a thing's row: kind, centre (3), half extents (3), its axes as rows in room coordinates (9), material,
seed, for a cone how its radius changes from its middle to its top (1 + taper * z), square of its largest radius."""

GROUP_COLUMNS = 8
"""A group's row: bounding box (lower 3, upper 3), first thing, one past its last."""

SIDE = 3
SAMPLES = SIDE * SIDE
"""Rays to a pixel at most, a fixed pattern of 3 by 3; each looks at a part of the window of its own."""

_EPSILON = 1e-5
_NOTHING = 1e30
_AMBIENT_REACH = 0.9
_EXPOSURE = 1.02


@compiled
def _hit_thing(thing, ox, oy, oz, dx, dy, dz) -> float:
    """The distance along a ray at which it enters a thing, or _NOTHING."""
    px, py, pz = ox - thing[CENTRE], oy - thing[CENTRE + 1], oz - thing[CENTRE + 2]
    # Most rays miss the ball around a thing, which is quickly told.
    along = px * dx + py * dy + pz * dz
    length = dx * dx + dy * dy + dz * dz
    if (px * px + py * py + pz * pz - thing[REACH]) * length > along * along:
        return _NOTHING
    a = AXES
    # In the thing's own axes, scaled so that its half extents are 1.
    sx, sy, sz = 1.0 / thing[HALF], 1.0 / thing[HALF + 1], 1.0 / thing[HALF + 2]
    x = (thing[a] * px + thing[a + 1] * py + thing[a + 2] * pz) * sx
    y = (thing[a + 3] * px + thing[a + 4] * py + thing[a + 5] * pz) * sy
    z = (thing[a + 6] * px + thing[a + 7] * py + thing[a + 8] * pz) * sz
    u = (thing[a] * dx + thing[a + 1] * dy + thing[a + 2] * dz) * sx
    v = (thing[a + 3] * dx + thing[a + 4] * dy + thing[a + 5] * dz) * sy
    w = (thing[a + 6] * dx + thing[a + 7] * dy + thing[a + 8] * dz) * sz
    kind = int(thing[KIND])
    if kind == BOX:
        near, far = -_NOTHING, _NOTHING
        for p, d in ((x, u), (y, v), (z, w)):
            if abs(d) < 1e-12:
                if abs(p) > 1:
                    return _NOTHING
            else:
                t0, t1 = (-1 - p) / d, (1 - p) / d
                near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
        return near if _EPSILON < near < far else _NOTHING
    if kind == ELLIPSOID:
        qa, qb, qc = u * u + v * v + w * w, x * u + y * v + z * w, x * x + y * y + z * z - 1
        root = qb * qb - qa * qc
        if root <= 0:
            return _NOTHING
        t = (-qb - math.sqrt(root)) / qa
        return t if t > _EPSILON else _NOTHING
    k = thing[TAPER]
    best = _NOTHING
    r, s = 1 + k * z, k * w
    qa, qb, qc = u * u + v * v - s * s, x * u + y * v - r * s, x * x + y * y - r * r
    root = qb * qb - qa * qc
    if root > 0 and abs(qa) > 1e-12:
        root = math.sqrt(root)
        for t in ((-qb - root) / qa, (-qb + root) / qa):
            if _EPSILON < t < best and abs(z + t * w) <= 1:
                best = t
    if abs(w) > 1e-12:
        for cap in (-1.0, 1.0):
            t = (cap - z) / w
            if _EPSILON < t < best and (x + t * u) ** 2 + (y + t * v) ** 2 <= (1 + k * cap) ** 2:
                best = t
    return best


@compiled
def _hit(things, groups, ox, oy, oz, dx, dy, dz, reach, any_will_do):
    """The nearest thing along a ray within ``reach``, or any: (distance, index), index -1 for none."""
    best, index = reach, -1
    ix = 1 / dx if abs(dx) > 1e-12 else 1e12
    iy = 1 / dy if abs(dy) > 1e-12 else 1e12
    iz = 1 / dz if abs(dz) > 1e-12 else 1e12
    for g in range(groups.shape[0]):
        x0, x1 = (groups[g, 0] - ox) * ix, (groups[g, 3] - ox) * ix
        y0, y1 = (groups[g, 1] - oy) * iy, (groups[g, 4] - oy) * iy
        z0, z1 = (groups[g, 2] - oz) * iz, (groups[g, 5] - oz) * iz
        near = max(max(min(x0, x1), min(y0, y1)), min(z0, z1))
        far = min(min(max(x0, x1), max(y0, y1)), max(z0, z1))
        if near > far or far < 0 or near > best:
            continue
        for i in range(int(groups[g, 6]), int(groups[g, 7])):
            t = _hit_thing(things[i], ox, oy, oz, dx, dy, dz)
            if t < best:
                best, index = t, i
                if any_will_do:
                    return best, index
    return best, index


@compiled
def _hit_room(room, ox, oy, oz, dx, dy, dz):
    """Where a ray from inside leaves the room: (distance, side), sides 0..5 = -x, +x, -y, +y, -z, +z."""
    best, side = _NOTHING, 0
    for axis in range(3):
        o = ox if axis == 0 else (oy if axis == 1 else oz)
        d = dx if axis == 0 else (dy if axis == 1 else dz)
        if abs(d) > 1e-12:
            upper = 1 if d > 0 else 0
            t = (room[upper, axis] - o) / d
            if _EPSILON < t < best:
                best, side = t, 2 * axis + upper
    return best, side


@compiled
def _light(things, groups, room, window, sample, x, y, z, nx, ny, nz):
    """Light (red, green, blue) that falls on a surface point with normal n: window, sky, lamp, bounce."""
    # One point of the window for each of a pixel's rays: soft shadows whose steps are too fine to see.
    a, b = (sample * 7 + 3) % SAMPLES // SIDE, (sample * 7 + 3) % SIDE
    lx = window[0, 0]
    ly = window[0, 1] + (a + 0.5) / SIDE * (window[1, 1] - window[0, 1])
    lz = window[0, 2] + (b + 0.5) / SIDE * (window[1, 2] - window[0, 2])
    dx, dy, dz = lx - x, ly - y, lz - z
    distance = math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
    dx, dy, dz = dx / distance, dy / distance, dz / distance
    facing = nx * dx + ny * dy + nz * dz
    sun = 0.0
    if facing > 0 and dx < 0:
        _, index = _hit(things, groups, x, y, z, dx, dy, dz, distance - 1e-3, True)
        if index < 0:
            sun = 8.5 * facing * -dx / (distance * distance + 0.35)
    # A short look into the hemisphere, one direction for each ray: corners and the ground under things go dark.
    angle, height = 2 * math.pi * ((sample * 5) % SAMPLES + 0.5) / SAMPLES, ((sample * 2) % SAMPLES + 0.5) / SAMPLES
    radius, height = math.sqrt(height), math.sqrt(1 - height)
    tx, ty, tz = (0.0, 1.0, 0.0) if abs(nx) > 0.7 else (1.0, 0.0, 0.0)
    ux, uy, uz = ty * nz - tz * ny, tz * nx - tx * nz, tx * ny - ty * nx
    scale = 1 / math.sqrt(ux * ux + uy * uy + uz * uz)
    ux, uy, uz = ux * scale, uy * scale, uz * scale
    vx, vy, vz = ny * uz - nz * uy, nz * ux - nx * uz, nx * uy - ny * ux
    ca, sa = radius * math.cos(angle), radius * math.sin(angle)
    near, _ = _hit(
        things,
        groups,
        x,
        y,
        z,
        ca * ux + sa * vx + height * nx,
        ca * uy + sa * vy + height * ny,
        ca * uz + sa * vz + height * nz,
        _AMBIENT_REACH,
        False,
    )
    open_sky = near / _AMBIENT_REACH
    for axis in range(3):
        p = x if axis == 0 else (y if axis == 1 else z)
        n = abs(nx if axis == 0 else (ny if axis == 1 else nz))
        for upper in range(2):
            open_sky *= 1 - 0.38 * (1 - n) * math.exp(-abs(p - room[upper, axis]) / 0.22)
    side = 0.5 - 0.5 * nx
    up = 0.5 + 0.5 * nz
    ambient = (0.20 + 0.10 * side + 0.08 * up) * open_sky
    hx, hy, hz = window[2, 0] - x, window[2, 1] - y, window[2, 2] - z
    lamp_distance = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
    lamp = 0.42 * max(0.0, 0.35 + 0.65 * (nx * hx + ny * hy + nz * hz) / lamp_distance) / (lamp_distance**2 + 0.5)
    lamp *= 0.4 + 0.6 * open_sky
    return (
        1.00 * sun + 0.94 * ambient + 1.00 * lamp,
        0.96 * sun + 0.95 * ambient + 0.78 * lamp,
        0.88 * sun + 1.00 * ambient + 0.50 * lamp,
    )


@compiled
def _trace(things, groups, room, window, sides, sample, ox, oy, oz, dx, dy, dz):
    """Distance along a ray, and the display colour (0..1) it sees."""
    wall, side = _hit_room(room, ox, oy, oz, dx, dy, dz)
    t, index = _hit(things, groups, ox, oy, oz, dx, dy, dz, wall, False)
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    if index < 0:
        axis, sign = side // 2, -1.0 if side % 2 else 1.0
        nx, ny, nz = sign if axis == 0 else 0.0, sign if axis == 1 else 0.0, sign if axis == 2 else 0.0
        material = int(sides[side])
        red, green, blue = albedo(material, float(sides[side] - material), (x, y, z), (1.0, 1.0, 1.0), (nx, ny, nz))
        inside = side == 0 and window[0, 1] < y < window[1, 1] and window[0, 2] < z < window[1, 2]
        if inside:
            # Panes, bars and what is outside.
            u = (y - window[0, 1]) / (window[1, 1] - window[0, 1]) * 2
            v = (z - window[0, 2]) / (window[1, 2] - window[0, 2]) * 2
            bar = min(min(u, 2 - u), min(abs(u - 1), min(min(v, 2 - v), abs(v - 1)))) < 0.05
            if not bar:
                return t, 0.86 + 0.05 * v, 0.91 + 0.03 * v, 0.95
            red, green, blue = 0.8, 0.8, 0.76
    else:
        thing = things[index]
        px, py, pz = x - thing[CENTRE], y - thing[CENTRE + 1], z - thing[CENTRE + 2]
        a = AXES
        qx = thing[a] * px + thing[a + 1] * py + thing[a + 2] * pz
        qy = thing[a + 3] * px + thing[a + 4] * py + thing[a + 5] * pz
        qz = thing[a + 6] * px + thing[a + 7] * py + thing[a + 8] * pz
        hx, hy, hz = thing[HALF], thing[HALF + 1], thing[HALF + 2]
        lx, ly, lz = qx / hx, qy / hy, qz / hz
        kind = int(thing[KIND])
        if kind == BOX:
            ax, ay, az = abs(lx), abs(ly), abs(lz)
            lx = math.copysign(1.0, lx) if ax >= ay and ax >= az else 0.0
            ly = math.copysign(1.0, ly) if lx == 0.0 and ay >= az else 0.0
            lz = math.copysign(1.0, lz) if lx == 0.0 and ly == 0.0 else 0.0
        elif kind == ELLIPSOID:
            lx, ly, lz = lx / hx, ly / hy, lz / hz
        elif abs(lz) > 1 - 1e-6:
            lx, ly, lz = 0.0, 0.0, math.copysign(1.0, lz)
        else:
            lx, ly, lz = lx / hx, ly / hy, -thing[TAPER] * (1 + thing[TAPER] * lz) / hz
        scale = 1 / math.sqrt(lx * lx + ly * ly + lz * lz)
        lx, ly, lz = lx * scale, ly * scale, lz * scale
        material = int(thing[MATERIAL])
        red, green, blue = albedo(material, thing[SEED], (qx, qy, qz), (hx, hy, hz), (lx, ly, lz))
        nx = thing[a] * lx + thing[a + 3] * ly + thing[a + 6] * lz
        ny = thing[a + 1] * lx + thing[a + 4] * ly + thing[a + 7] * lz
        nz = thing[a + 2] * lx + thing[a + 5] * ly + thing[a + 8] * lz
        if material == GLOW:
            return t, red, green, blue
    lift = 1e-4
    lr, lg, lb = _light(things, groups, room, window, sample, x + lift * nx, y + lift * ny, z + lift * nz, nx, ny, nz)
    return t, _display(red * lr), _display(green * lg), _display(blue * lb)


@compiled
def _display(light: float) -> float:
    """Linear light to a display value in 0..1: a soft shoulder, then gamma."""
    light *= _EXPOSURE * 1.9
    return (light * (1 + light / 9) / (1 + light)) ** (1 / 2.2)


@compiled_parallel
def _render(things, groups, room, window, sides, offsets, camera, rays, image):
    height, width = image.shape[:2]
    for row in numba.prange(height):
        for column in range(width):
            red = green = blue = 0.0
            for sample in range(offsets.shape[0]):
                u, v = column + offsets[sample, 0], row + offsets[sample, 1]
                dx = rays[0, 0] * u + rays[0, 1] * v + rays[0, 2]
                dy = rays[1, 0] * u + rays[1, 1] * v + rays[1, 2]
                dz = rays[2, 0] * u + rays[2, 1] * v + rays[2, 2]
                _, r, g, b = _trace(
                    things, groups, room, window, sides, sample, camera[0], camera[1], camera[2], dx, dy, dz
                )
                red, green, blue = red + min(r, 1.0), green + min(g, 1.0), blue + min(b, 1.0)
            scale = 255.0 / offsets.shape[0]
            image[row, column, 0] = np.uint8(red * scale + 0.5)
            image[row, column, 1] = np.uint8(green * scale + 0.5)
            image[row, column, 2] = np.uint8(blue * scale + 0.5)


@compiled_parallel
def _depth(things, groups, room, camera, rays, depth):
    for row in numba.prange(depth.shape[0]):
        for column in range(depth.shape[1]):
            dx = rays[0, 0] * column + rays[0, 1] * row + rays[0, 2]
            dy = rays[1, 0] * column + rays[1, 1] * row + rays[1, 2]
            dz = rays[2, 0] * column + rays[2, 1] * row + rays[2, 2]
            wall, _ = _hit_room(room, camera[0], camera[1], camera[2], dx, dy, dz)
            t, _ = _hit(things, groups, camera[0], camera[1], camera[2], dx, dy, dz, wall, False)
            depth[row, column] = t


def _pattern(side: int) -> np.ndarray:
    """``side * side 2`` offsets (columns, rows) in pixels with the density of a tent two pixels wide.

    A tent keeps what a pixel grid can carry and little more, so that resampling the picture loses little.
    """
    cells = (np.arange(side) + 0.5) / side
    tent = np.where(cells < 0.5, np.sqrt(2 * cells) - 1, 1 - np.sqrt(2 - 2 * cells))
    return np.stack(np.meshgrid(tent, tent), axis=-1).reshape(side * side, 2)


def view(
    things: np.ndarray,
    groups: np.ndarray,
    room: np.ndarray,
    window: np.ndarray,
    sides: np.ndarray,
    camera_to_room: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    side: int = SIDE,
) -> np.ndarray:
    """``h w 3`` uint8: what a camera sees. ``room`` is (lower, upper) corners, ``window`` (lower, upper, lamp).

    ``sides`` are the materials of -x, +x, -y, +y, -z, +z; a fraction is the seed of that side's texture.
    A pixel is the mean of ``side`` by ``side`` rays, at most SIDE.
    """
    image = np.empty((*size, 3), np.uint8)
    rays = np.ascontiguousarray(camera_to_room[:3, :3] @ np.linalg.inv(intrinsics))
    camera = np.ascontiguousarray(camera_to_room[:3, 3])
    _render(things, groups, room, window, sides, _pattern(side), camera, rays, image)
    return image


def view_depth(
    things: np.ndarray,
    groups: np.ndarray,
    room: np.ndarray,
    camera_to_room: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """``h w`` float32 z-depth at the pixel centres, metres."""
    depth = np.empty(size, np.float32)
    # A ray's third camera coordinate is 1, so the distance along it is the z-depth.
    rays = np.ascontiguousarray(camera_to_room[:3, :3] @ np.linalg.inv(intrinsics))
    _depth(things, groups, room, np.ascontiguousarray(camera_to_room[:3, 3]), rays, depth)
    return depth
