"""Depth Anything 3: depth, cameras and, with a metric model, metres, from the clip alone."""

from inspatio.geometry.depth_anything3.backend import DepthAnything3

__all__ = ["DepthAnything3"]
