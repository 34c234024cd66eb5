"""The names of the geometry folder's reader and writer (``folder.py``)."""

from inspatio.geometry.folder import (
    CameraRecord,
    Geometry,
    GeometryDepth,
    GeometryWriter,
    load_geometry,
    read_cameras,
    write_cameras,
)

__all__ = [
    "CameraRecord",
    "Geometry",
    "GeometryDepth",
    "GeometryWriter",
    "load_geometry",
    "read_cameras",
    "write_cameras",
]
