"""Depth Anything 3: depth and cameras of a clip, in metres with a metric model."""

from inspatio.geometry.depth_anything3.backend import DepthAnything3

__all__ = ["DepthAnything3"]
