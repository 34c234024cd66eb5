"""Geometry of a moving camera from the picture alone; ``backend.py`` says how its modules work together."""
