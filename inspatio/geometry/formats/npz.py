"""Read members of a ``.npz`` archive one array at a time, checked for shape; helper of several importers."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from inspatio.errors import ClipError
from inspatio.storage import DAMAGED_ARRAYS


def member_shape(path: Path, name: str) -> tuple[int, ...]:
    """The shape of an array of an archive, without reading its values.

    Raises:
        ClipError: there is no such file or array, or it is damaged.
    """
    with _member(path, name) as (_, shape, _dtype):
        return shape


def read_member(path: Path, name: str, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """Read a small array of finite numbers as float64; None in ``shape`` stands for any size.

    Raises:
        ClipError: it is missing, damaged, of another shape, or not finite numbers.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            array = np.asarray(archive[name])
    except KeyError:
        raise ClipError(f"{path}: no array {name!r}; expected one of shape {_shown(shape)}") from None
    except DAMAGED_ARRAYS as error:
        raise ClipError(f"{path}: not a readable .npz archive ({error})") from None
    fits = array.ndim == len(shape) and all(want in (None, got) for got, want in zip(array.shape, shape, strict=True))
    if not fits:
        raise ClipError(f"{path}: array {name!r} has shape {_shown(array.shape)}, expected {_shown(shape)}")
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ClipError(f"{path}: array {name!r} holds something other than finite numbers")
    return array.astype(np.float64)


def stream_member(path: Path, name: str) -> Iterator[NDArray]:
    """Yield an array's slices along its first axis, one in memory at a time.

    Raises:
        ClipError: it is missing or damaged.
    """
    with _member(path, name) as (file, shape, dtype):
        size = int(np.prod(shape[1:])) * dtype.itemsize
        for index in range(shape[0]):
            try:
                data = file.read(size)
            except DAMAGED_ARRAYS as error:  # the sum over the content is compared with its last byte
                raise ClipError(f"{path}: array {name!r} is damaged ({error}); expected a whole file") from None
            if len(data) != size:
                raise ClipError(f"{path}: array {name!r} ends after {index} of {shape[0]} maps; expected a whole file")
            yield np.frombuffer(data, dtype).reshape(shape[1:])


class _member:
    """An array of an archive, opened behind its header: (file, shape, dtype)."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name

    def __enter__(self):
        try:
            self._archive = zipfile.ZipFile(self._path)
            file = self._archive.open(f"{self._name}.npy")
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except KeyError:
            raise ClipError(f"{self._path}: no array {self._name!r}") from None
        except DAMAGED_ARRAYS as error:
            raise ClipError(f"{self._path}: not a readable .npz archive ({error})") from None
        if fortran or dtype.kind not in "fiu" or len(shape) < 3:
            raise ClipError(f"{self._path}: array {self._name!r} is {dtype} of shape {_shown(shape)}, expected maps")
        return file, shape, dtype

    def __exit__(self, *_: object) -> None:
        self._archive.close()


def _shown(shape: tuple[int | None, ...]) -> str:
    return " x ".join("n" if side is None else str(side) for side in shape)
