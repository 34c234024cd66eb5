"""Source frames with depth, seen from other cameras: the forward splat (``warper``) and square points (``ply``)."""

from inspatio.render.points import PointRenderer, splat_points
from inspatio.render.renderer import Renderer
from inspatio.render.splat import WarpRenderer
from inspatio.render.views import render_scene

__all__ = ["PointRenderer", "Renderer", "WarpRenderer", "render_scene", "splat_points"]
