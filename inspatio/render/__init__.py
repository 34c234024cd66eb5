"""Source frames with depth, seen from other cameras: the forward splat (``warper``) and square points (``ply``)."""

from inspatio.render.points import PointRenderer, splat_points
from inspatio.render.renderer import Renderer, render_scene
from inspatio.render.splat import WarpRenderer

__all__ = ["PointRenderer", "Renderer", "WarpRenderer", "render_scene", "splat_points"]
