"""Read and write ``cameras.json``, the one file format for the cameras of a clip.

A geometry folder has one (the source cameras, and which backend estimated them), a render folder has one (the very
cameras that were rendered), and a copy of that lies beside every result. One matrix per line::

    {
     "format": "inspatio-cameras",
     "version": 2,
     "convention": "opencv, world_to_camera",     axes and direction of the poses, see poses.py
     "image_size": [480, 832],                    height, width: the intrinsics are in its pixels
     "frame_count": 97,
     "scale": "metres",                           what a distance of 1 means: metres, relative or prior
     "frame_rate": "25/1",                        optional, frames per second
     "timeline": [0, 1, 2, ...],                  optional, the source frame that each frame shows
     "backend": "da3", "settings": {...},         optional, who estimated the cameras, and how
     "depth_coding": {"quantity": "inverse_depth", "scale": 0.0008},      optional, for depth.mkv
     "intrinsics": [[fx, 0, cx, 0, fy, cy, 0, 0, 1]],       3x3 row by row: one line for each frame, or one for all
     "world_to_camera": [[...16 numbers...], ...]           4x4 row by row: one line for each frame
    }

Two formats of version 1 are still read: ``inspatio-geometry`` (the same fields) and ``inspatio-cameras`` (``size``
for ``image_size``, ``order`` for ``timeline``, nine numbers for ``intrinsics``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import check_rigid
from inspatio.errors import ClipError
from inspatio.storage import write_text
from inspatio.types import Intrinsics, ScaleKind, WorldToCamera

FORMAT = "inspatio-cameras"
VERSION = 2
CONVENTION = "opencv, world_to_camera"
_GEOMETRY_V1 = ("inspatio-geometry", 1)
_RENDER_V1 = ("inspatio-cameras", 1)


@dataclass(frozen=True, eq=False)
class CameraFile:
    """The content of ``cameras.json``.

    ``intrinsics`` is ``n 3 3`` in pixels of an image of ``image_size`` (height, width). ``world_to_camera`` is
    ``n 4 4`` (OpenCV axes, world = first source camera).
    """

    image_size: tuple[int, int]
    intrinsics: Intrinsics
    world_to_camera: WorldToCamera
    scale: ScaleKind
    backend: str = ""
    """Who estimated the cameras; empty where they were chosen."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the backend found and was told; JSON values."""
    depth_scale: float | None = None
    """Step of inverse depth where depth is kept as a video (``geometry/depth_video.py``)."""
    frame_rate: Fraction | None = None
    timeline: tuple[int, ...] | None = None
    """The source frame that each frame shows; None: frame i shows source frame i."""

    @property
    def frame_count(self) -> int:
        return len(self.world_to_camera)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            ValueError: a pose is not rigid.
            UserError: the disk is full or the folder cannot be written.
        """
        n = self.frame_count
        assert self.intrinsics.shape == (n, 3, 3), f"intrinsics {self.intrinsics.shape}, expected ({n}, 3, 3)"
        assert self.timeline is None or len(self.timeline) == n, f"{n} poses, expected one for each frame"
        check_rigid(self.world_to_camera, "world_to_camera")
        header: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "convention": CONVENTION,
            "image_size": list(self.image_size),
            "frame_count": n,
            "scale": self.scale,
        }
        if self.frame_rate is not None:
            header["frame_rate"] = f"{self.frame_rate.numerator}/{self.frame_rate.denominator}"
        if self.timeline is not None:
            header["timeline"] = list(self.timeline)
        if self.backend:
            header |= {"backend": self.backend, "settings": self.settings}
        if self.depth_scale is not None:
            header["depth_coding"] = {"quantity": "inverse_depth", "scale": self.depth_scale}
        lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()]
        same = n > 0 and bool((self.intrinsics == self.intrinsics[0]).all())
        for name, matrices in (
            ("intrinsics", self.intrinsics[:1] if same else self.intrinsics),
            ("world_to_camera", self.world_to_camera),
        ):
            rows = [json.dumps(row, allow_nan=False) for row in matrices.reshape(len(matrices), -1).tolist()]
            lines.append(f"{json.dumps(name)}: [\n  " + ",\n  ".join(rows) + "\n ]")
        write_text(path, "{\n " + ",\n ".join(lines) + "\n}\n")

    @classmethod
    def load(cls, path: Path, remedy: str) -> CameraFile:
        """Read and check the file, of this version or of version 1.

        Args:
            path: the file.
            remedy: what the user can do about a bad one, the end of the message.

        Raises:
            ClipError: it is missing, not JSON, from a newer version, or a field is missing or wrong (named).
        """
        try:
            return _parse(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ClipError(f"{path}: no such file. {remedy}") from None
        except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
            raise ClipError(f"{path}: cannot be read as JSON ({error}). {remedy}") from None
        except RecursionError:
            raise ClipError(f"{path}: its brackets are nested too deeply, expected a camera file. {remedy}") from None
        except ValueError as error:
            raise ClipError(f"{path}: {error}. {remedy}") from None


def _parse(record: Any) -> CameraFile:
    """The checked record; ValueError names the field, what was got and what was expected."""
    if not isinstance(record, dict) or record.get("format") not in (FORMAT, _GEOMETRY_V1[0]):
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"not a camera file: got format {found!r}, expected {FORMAT!r}")
    made_by = (record["format"], record.get("version"))
    if made_by == _RENDER_V1:
        record = _from_render_v1(record)
    elif made_by not in (_GEOMETRY_V1, (FORMAT, VERSION)):
        raise ValueError(f"got {made_by[0]} version {made_by[1]!r}, expected {FORMAT} version {VERSION} or older")
    from inspatio.cameras.camera_header import read_header  # here: only reading a file needs Pydantic

    header = read_header(record)
    try:
        json.dumps([header.backend, header.settings], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("field 'backend' or 'settings': got half a surrogate pair, expected text") from None
    n = header.frame_count
    if header.timeline is not None and len(header.timeline) != n:
        raise ValueError(f"field 'timeline': got {len(header.timeline)} frames, expected {n} (frame_count)")
    intrinsics = _matrices(record, "intrinsics", 3, (n, 1))
    if not (intrinsics[:, [0, 1], [0, 1]] > 0).all():
        raise ValueError("field 'intrinsics': got a focal length of 0 or less, expected positive focal lengths")
    world_to_camera = _matrices(record, "world_to_camera", 4, (n,))
    check_rigid(world_to_camera, "field 'world_to_camera': matrix")
    height, width = header.image_size
    return CameraFile(
        image_size=(height, width),
        intrinsics=np.ascontiguousarray(np.broadcast_to(intrinsics, (n, 3, 3))),
        world_to_camera=world_to_camera,
        scale=header.scale,
        backend=header.backend,
        settings=header.settings,
        depth_scale=header.depth_coding.scale if header.depth_coding else None,
        frame_rate=Fraction(header.frame_rate) if header.frame_rate else None,
        timeline=tuple(header.timeline) if header.timeline is not None else None,
    )


def _from_render_v1(record: dict[str, Any]) -> dict[str, Any]:
    """The fields of a version 1 render file under the names of version 2."""
    for name in ("size", "frame_rate", "order", "intrinsics", "world_to_camera"):
        if name not in record:
            raise ValueError(f"field {name!r} is missing")
    return {
        **record,
        "convention": str(record.get("convention")).removesuffix(", row by row"),
        "image_size": record["size"],
        "timeline": record["order"],
        "frame_count": len(record["order"]) if isinstance(record["order"], list) else record["order"],
        "intrinsics": [record["intrinsics"]],
    }


def _matrices(record: dict[str, Any], name: str, side: int, counts: tuple[int, ...]) -> NDArray[np.float64]:
    if name not in record:
        raise ValueError(f"field {name!r} is missing")
    expected = f"{' or '.join(map(str, counts))} rows of {side * side} numbers"
    try:
        values = np.array(record[name])
    except ValueError:
        raise ValueError(f"field {name!r}: got rows of different lengths, expected {expected}") from None
    if values.dtype.kind not in "if":
        raise ValueError(f"field {name!r}: got something other than numbers, expected {expected}")
    if values.ndim != 2 or values.shape[0] not in counts or values.shape[1] != side * side:
        raise ValueError(f"field {name!r}: got shape {values.shape}, expected {expected}")
    if not np.isfinite(values).all():
        raise ValueError(f"field {name!r}: got NaN or infinity, expected finite numbers")
    return values.astype(np.float64).reshape(-1, side, side)
