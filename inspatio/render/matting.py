"""Take the mixed pixels at depth edges apart into foreground and background (alpha matting), and composite them.

A pixel on the outline of a near thing shows two surfaces at once, and its depth names one of them. Splatted whole, it
carries foreground colour onto the background (specks and dashed outlines beside the object) or background colour along
with the object. :func:`separate` splits such pixels: the picture keeps the background's share at the background's
depth, and an :class:`EdgePixels` list holds the foreground's colour, opacity (alpha) and depth. From a new camera the
picture is rendered (:func:`render_separated`), its holes are filled, and :func:`composite` lays the foreground's edge
over it. Without motion that gives the source frame back. (Layers with matted boundaries: Zitnick et al. 2004,
"High-quality video view interpolation using a layered representation".)

For what shows source pixels to people: the preview, ``--faithful``, the live display. Networks are fed with the
published ``warper``, which does nothing of the kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.jit import on_pool
from inspatio.render import matting_loops
from inspatio.render.resample import find_places
from inspatio.render.splat import pixel_maps
from inspatio.scene import Render
from inspatio.types import DepthMaps, Frames, Image

EDGE_JUMP = np.float32(0.08)
"""Depth that rises by this share within 3x3 pixels is an edge."""
BEYOND = np.float32(1e18)
"""Farther than any depth, and not infinite: it is multiplied."""
BAND = 2
"""How far from an edge pixels may be mixed: blur of the lens and the codec, and depth that is a pixel off."""
RING = 1
"""How many pixels of unmixed foreground beside the mixed ones are splatted with them, for the splat to share."""
REACH = 2
"""A cubic filter reaches so many pixels far: foreground within this of the mixed pixels is not looked up in a picture
that shows the background there."""


@dataclass(frozen=True)
class EdgePixels:
    """The foreground's part in the pixels along the depth edges of one frame, ``m`` of them.

    The first ``mixed`` are taken apart. The others are the foreground right beside them, which the frame shows too:
    without them, a splat between the two would have the colour of one alone.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    colours: NDArray[np.uint8]
    """``m 3`` RGB of the foreground alone."""
    alphas: NDArray[np.float32]
    """``m``: the foreground's share of the pixel, 0 to 1."""
    depths: NDArray[np.float32]
    """``m``: z-depth of the foreground."""
    mixed: int


@dataclass(frozen=True)
class Separated:
    """Frames without the foreground's part in mixed pixels, and that part.

    In mixed pixels ``frames`` (``t h w 3``) and ``depth`` (``t h w``) show the background alone; where the foreground
    is opaque beside an edge, depth is 0 (unknown), because nothing of the background was seen, and the frame goes on
    with the colours beside it, for filters that reach over the edge. ``near`` (``t h w 3``) shows the foreground alone
    in mixed pixels, and ``between`` (``t h w``) is the depth that parts the two around them, 0 elsewhere. ``edges`` has
    one entry per frame.
    """

    frames: Frames
    depth: DepthMaps
    near: Frames
    between: DepthMaps
    edges: list[EdgePixels]


@dataclass(frozen=True)
class SoftEdges:
    """The pixels of a target view that an edge covers in part."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    colours: NDArray[np.float32]
    """``m 3``, 0 to 255."""
    alphas: NDArray[np.float32]
    """``m``, between 0 and 1."""

    def within(self, where: NDArray[np.bool_]) -> SoftEdges:
        """Those of them where ``where`` (``h w``) is true."""
        kept = where[self.rows, self.columns]
        return SoftEdges(self.rows[kept], self.columns[kept], self.colours[kept], self.alphas[kept])


NO_EDGES = SoftEdges(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
"""Of a view whose mixed pixels are not taken apart."""


def separate(frames: Frames, depth: DepthMaps, threads: int) -> Separated:
    """Split the mixed pixels of frames (``t h w 3``) with depth (``t h w``, 0 unknown)."""
    backgrounds, nears, depth = frames.copy(), frames.copy(), np.ascontiguousarray(depth, np.float32).copy()
    between = np.empty(depth.shape, np.float32)
    edges = on_pool(
        lambda i: _separate_frame(frames[i], depth[i], backgrounds[i], nears[i], between[i]), len(frames), threads
    )
    return Separated(backgrounds, depth, nears, between, edges)


def _separate_frame(
    frame: Image, depth: NDArray[np.float32], background: Image, near: Image, between: NDArray[np.float32]
) -> EdgePixels:
    """Split one frame: fills ``between``; changes ``depth`` and copies of the frame where pixels are mixed."""
    known = (depth > 0) & np.isfinite(depth)
    nearest = np.where(known, depth, BEYOND)
    filmed = np.where(known, depth, np.float32(0))
    jump = cv2.dilate(filmed, _square(1)) > cv2.erode(nearest, _square(1)) * (1 + EDGE_JUMP)
    band = np.asarray(cv2.dilate(jump.astype(np.uint8), _square(BAND - 1)), np.uint8)
    # Between the two surfaces of an edge, in the middle of their depths as the eye counts them.
    middle = np.sqrt(cv2.erode(nearest, _square(BAND + 1)) * cv2.dilate(filmed, _square(BAND + 1)))
    ring = (np.asarray(cv2.dilate(band, _square(RING))) > band) & (filmed < middle)
    rows, columns = (
        np.concatenate(each).astype(np.int32)
        for each in zip(np.nonzero(band & known), np.nonzero(ring & known), strict=True)
    )
    edge = EdgePixels(
        rows,
        columns,
        frame[rows, columns],
        np.ones(len(rows), np.float32),
        filmed[rows, columns],
        int((band & known).sum()),
    )
    mixed = slice(edge.mixed)
    matting_loops.split(
        frame,
        filmed,
        band,
        middle,
        rows[mixed],
        columns[mixed],
        background,
        depth,
        edge.colours[mixed],
        edge.alphas[mixed],
        edge.depths[mixed],
    )
    near[rows[mixed], columns[mixed]] = edge.colours[mixed]
    around = np.asarray(cv2.dilate(band, _square(REACH)), np.uint8) - band
    reach = _square(BAND + 1 + REACH)
    between[:] = np.sqrt(cv2.erode(nearest, reach) * cv2.dilate(filmed, reach)) * around
    matting_loops.extend(depth, middle, rows[mixed], columns[mixed], edge.alphas[mixed], background)
    return edge


def _square(reach: int) -> NDArray[np.uint8]:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def render_separated(
    frames: Frames, depth: DepthMaps, source: Cameras, target: Cameras, threads: int
) -> tuple[Render, list[SoftEdges]]:
    """Render ``t`` frames from ``t`` new cameras, their mixed pixels taken apart (:func:`render_parts`)."""
    return render_parts(separate(frames, depth, threads), source, target, threads)


def render_parts(
    separated: Separated, source: Cameras, target: Cameras, threads: int
) -> tuple[Render, list[SoftEdges]]:
    """Render ``t`` frames whose mixed pixels were taken apart (``resample.py`` draws them).

    The render, always with depth, has the opaque part of the edges in it. The soft part is for :func:`composite`, once
    the holes are filled: what is seen through it may lie in one.
    """
    rotation, translation = pixel_maps(source, target)
    back = pixel_maps(target, source)
    t = len(separated.frames)
    frames = np.empty_like(separated.frames)
    masks, depth = np.empty(separated.depth.shape, np.uint8), np.empty(separated.depth.shape, np.float32)

    def draw(i: int) -> SoftEdges:
        places = find_places(separated.depth[i], rotation[i], translation[i])
        frame = places.look_up(separated.frames[i])
        front = matting_loops.in_front(
            separated.between[i], places.columns, places.rows, places.depth, back[0][i], back[1][i]
        )
        frame.reshape(-1, 3)[front] = places.look_up_at(separated.near[i], front)
        frames[i], masks[i], depth[i] = frame, places.mask, places.depth
        edge = _splat_edges(separated.edges[i], rotation[i], translation[i], masks[i].shape)
        return _lay_opaque(edge, frames[i], masks[i], depth[i])

    edges = on_pool(draw, t, threads)
    return Render(frames, masks, depth), edges


def _splat_edges(
    edge: EdgePixels, rotation: NDArray[np.float32], translation: NDArray[np.float32], size: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The edges of a frame in the target view: colour ``h w 3``, alpha and depth ``h w``, 0 where there is no edge."""
    colour, alpha, depth = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
    matting_loops.splat(
        edge.rows,
        edge.columns,
        edge.colours,
        edge.alphas,
        edge.depths,
        edge.mixed,
        rotation,
        translation,
        colour,
        alpha,
        depth,
    )
    return colour, alpha, depth


def _lay_opaque(
    edge: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    frame: Image,
    mask: NDArray[np.uint8],
    depth: NDArray[np.float32],
) -> SoftEdges:
    """Draw the opaque edges into a rendered frame, its mask and depth; return those that are left."""
    colour, alpha, edge_depth = edge
    places = matting_loops.lay_opaque(colour, alpha, edge_depth, frame, mask, depth)
    rows, columns = np.divmod(places, alpha.shape[1])
    return SoftEdges(rows, columns, colour[rows, columns], alpha[rows, columns])


def composite(image: Image, edges: SoftEdges) -> None:
    """Lay the soft edges over ``h w 3`` in place."""
    share = edges.alphas[:, None]
    mixed = image[edges.rows, edges.columns] * (1 - share) + edges.colours * share
    image[edges.rows, edges.columns] = (mixed + np.float32(0.5)).astype(np.uint8)
