"""Make the picture of this moment: the source seen from the camera of now, completed by what was generated last.

The source frame of now is splatted exactly; once nothing moves, with the mixed pixels of outlines taken apart. What it
does not show comes from the newest generated frame, warped to the camera of now by its depth; the few pixels that
neither knows are filled smoothly. A generator that changes the whole picture (a neural one) goes the other way round:
its warped frame first, the splat where that has holes. Nothing here knows of a session, so drawing never changes what
is generated.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert
from inspatio.generation.preview.inpaint import diffuse
from inspatio.live.protocol import Layer
from inspatio.live.sources import CachedSource
from inspatio.render import Renderer
from inspatio.render.matting import NO_EDGES, Separated, SoftEdges, composite, render_parts, separate
from inspatio.scene import Render, Scene
from inspatio.types import CameraToWorld, Image, Intrinsics

FILL_SCALE = 4
"""What neither source nor generator shows is filled at this fraction of the resolution."""
EDGE = 9
"""Width in pixels of the border around made-up parts that is warped with them, so that no seam opens."""
TINT = np.array([255, 120, 40], np.uint8)


@dataclass(frozen=True, eq=False)
class GeneratedFrame:
    """One generated frame, ready to be warped: ``image`` ``h w 3``, ``depth`` ``h w`` (0: not warped), its camera.

    ``answers`` is the newest pose message it was made for, received at ``commanded``; it is shown from ``due`` on.
    """

    number: int
    answers: int
    commanded: float
    due: float
    image: Image
    depth: NDArray[np.float32]
    camera: Cameras
    source_frame: int


@dataclass(frozen=True, eq=False)
class Composed:
    """A picture ``h w 3``, its depth ``h w`` (0 unknown), and the share of it that the source shows."""

    image: Image
    depth: NDArray[np.float32]
    coverage: float


class Composer:
    """Draws pictures of one scene; of what was drawn it keeps the last source frame, taken apart."""

    def __init__(
        self,
        scene: Scene,
        frames: CachedSource,
        depth: CachedSource,
        renderer: Renderer,
        intrinsics: Intrinsics,
        *,
        source_first: bool,
    ) -> None:
        """``source_first``: what the source shows is kept, and only the rest comes from the generator."""
        self._scene, self._frames, self._depth = scene, frames, depth
        self._renderer, self._intrinsics = renderer, intrinsics
        self._source_first = source_first
        self._parts: tuple[int, Separated] | None = None
        """The source frame that was drawn last, and its parts: the camera moves more often than the clip."""

    def compose(
        self,
        source_frame: int,
        camera_to_world: CameraToWorld,
        generated: GeneratedFrame | None,
        layer: Layer,
        other: GeneratedFrame | None = None,
        *,
        outlines: bool = True,
    ) -> Composed:
        """The picture that ``camera_to_world`` sees while the source shows ``source_frame``.

        ``other``: a frame of the other branch, for the layer that compares them. ``outlines``: take mixed pixels apart
        (``render/matting.py``), which costs as much as two splats for every source frame that is new, and nearly
        one for every picture.
        """
        camera = Cameras.from_poses(invert(camera_to_world)[None], self._intrinsics)
        whole = layer == "render" or not outlines
        if generated is None or layer in ("render", "source"):
            (direct, edges), warp = self._splat(source_frame, camera, whole=whole), None
        else:
            # Each on a core of its own, so that the picture is there sooner.
            with ThreadPoolExecutor(1) as thread:
                warping = thread.submit(self._warp, generated, camera)
                direct, edges = self._splat(source_frame, camera, whole=whole)
                warp = warping.result()
        seen = direct.masks[0]
        coverage = cv2.countNonZero(seen) / seen.size
        depth = _known_depth(direct)
        if layer == "render":
            return Composed(direct.frames[0], depth, coverage)
        if layer == "source":
            return Composed(self._frames.one(source_frame), depth, coverage)
        image, known = direct.frames[0].copy(), seen.copy()
        outlined = np.ones(seen.shape, np.bool_)
        if warp is not None:
            there = warp.masks[0]
            use = cv2.bitwise_and(there, cv2.bitwise_not(seen)) if self._source_first else there
            cv2.copyTo(warp.frames[0], use, image)
            cv2.copyTo(_known_depth(warp), use, depth)
            cv2.bitwise_or(known, there, known)
            if not self._source_first:
                outlined = there == 0  # the generated picture has its own outlines
        fill_smoothly(image, known)
        composite(image, edges.within(outlined))
        match layer:
            case "depth":
                image = depth_picture(depth)
            case "holes":
                made_up = seen == 0
                image[made_up] = image[made_up] // 2 + TINT // 2
            case "wipe":
                beside(image, self._frames.one(source_frame))
            case "branches" if other is not None:
                beside(image, self.compose(source_frame, camera_to_world, other, "result", outlines=outlines).image)
        return Composed(image, depth, coverage)

    def warpable(
        self, image: Image, depth: NDArray[np.float32] | None, coverage: NDArray[np.uint8] | None
    ) -> NDArray[np.float32]:
        """The depth to warp a generated frame by: holes filled, and 0 where the splat of the source is used anyway."""
        if depth is None:
            return np.zeros(image.shape[:2], np.float32)
        filled = fill_depth(depth)
        if self._source_first and coverage is not None:
            made_up = cv2.dilate(cv2.bitwise_not(coverage), np.ones((EDGE, EDGE), np.uint8))
            filled[made_up == 0] = 0
        return filled

    def _warp(self, generated: GeneratedFrame, camera: Cameras) -> Render:
        image, depth = generated.image[None], generated.depth[None]
        return self._renderer.render(image, depth, generated.camera, camera, with_depth=True)

    def _splat(self, source_frame: int, camera: Cameras, *, whole: bool) -> tuple[Render, SoftEdges]:
        """The source as the camera sees it, and what the edges of near things cover in part.

        ``whole``: as the generator gets it, mixed pixels left whole.
        """
        if self._scene.points is not None:
            return self._scene.points.render(camera, self._scene.size), NO_EDGES
        source = Cameras(self._scene.intrinsics, self._scene.world_to_camera)[[source_frame]]
        frame, depth = self._frames.one(source_frame)[None], self._depth.one(source_frame)[None]
        if whole:
            return self._renderer.render(frame, depth, source, camera, with_depth=True), NO_EDGES
        if self._parts is None or self._parts[0] != source_frame:
            self._parts = source_frame, separate(frame, depth, threads=1)
        render, edges = render_parts(self._parts[1], source, camera, threads=1)
        return render, edges[0]


def _known_depth(render: Render) -> NDArray[np.float32]:
    assert render.depth is not None, "depth was asked for"
    return render.depth[0]


def beside(image: Image, left: Image) -> None:
    """Put the left half of another picture into this one, with a line between."""
    half = image.shape[1] // 2
    image[:, :half] = left[:, :half]
    image[:, half - 1 : half + 1] = 255


def fill_smoothly(image: Image, known: NDArray[np.uint8]) -> None:
    """Fill the pixels of ``image`` where ``known`` is 0 from around, in place."""
    if cv2.countNonZero(known) == known.size:
        return
    height, width = known.shape
    small = (max(width // FILL_SCALE, 1), max(height // FILL_SCALE, 1))
    share = cv2.resize(known, small, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    # Unknown pixels are black, so the mean over a block is the sum of the known ones.
    colour = cv2.resize(cv2.copyTo(image, known), small, interpolation=cv2.INTER_AREA).astype(np.float32)
    colour /= np.maximum(share, 1e-3)[..., None]
    filled = np.clip(diffuse(colour, np.asarray(share, np.float32)), 0, 255).astype(np.uint8)
    large = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    cv2.copyTo(large, cv2.bitwise_not(known), image)


def fill_depth(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """The depth with its unknown (0) pixels filled from around, far depths counting most: holes show background."""
    known = (depth > 0).astype(np.float32)
    if known.all() or not known.any():
        return depth.copy()
    height, width = depth.shape
    small = (max(width // FILL_SCALE, 1), max(height // FILL_SCALE, 1))
    share = cv2.resize(known, small, interpolation=cv2.INTER_AREA)
    mean = np.asarray(cv2.resize(depth, small, interpolation=cv2.INTER_AREA), np.float32)
    mean /= np.maximum(share, np.float32(1e-3))
    farther = mean / max(float(mean.max()), 1e-9)
    filled = diffuse(mean, (share * np.maximum(farther, 0.05) ** 4).astype(np.float32))
    return np.where(depth > 0, depth, cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR))


def depth_picture(depth: NDArray[np.float32]) -> Image:
    """Depth as colours, near is warm; unknown is black."""
    valid = depth > 0
    if not valid.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    inverse = np.where(valid, 1 / np.maximum(depth, 1e-6), 0)
    low, high = np.percentile(inverse[valid][::16], (2, 98))
    scaled = np.clip((inverse - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    colours[~valid] = 0
    return np.asarray(colours, np.uint8)
