"""Depth Anything 3: depth, cameras and, with a metric model, metres, from the clip alone."""
