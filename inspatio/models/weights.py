"""Checkpoints: from files to modules, strictly, without a second copy in memory and without running anything.

    state = load_state(path)                            # tensors that lie in the file, mapped into memory
    with torch.device("meta"):
        network = Network(config)                       # no storage yet
    load_strict(network, state, source=path, rename=adapter, device=device, dtype=dtype)

A checkpoint is a file (``.safetensors``, or ``.pth`` / ``.bin`` as written by torch) or a folder that holds one,
sharded or whole. Tensors are mapped, so that a page is read when it is first used and can be dropped again; where
neither device nor dtype changes, the module itself keeps using the map. Otherwise tensors are converted one at a time,
so that the peak is the module's own size.

A ``.pth`` is a pickle, which can name any function to be called on loading. Only tensors and plain containers are
accepted (torch's ``weights_only``); a file that asks for more is refused and nothing in it runs.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from inspatio.errors import MissingWeightsError

DOWNLOADS = (
    "InSpatio-World-1.3B",
    "Wan2.1-T2V-1.3B",
    "DA3",
    "DA3-BASE",
    "DA3METRIC-LARGE",
    "Florence-2-large",
    "taehv",
)
"""Folders below ``checkpoints/`` that ``scripts/download.sh`` knows by these names."""

PICKLES = (".pth", ".pt", ".bin")
_KEYS_SHOWN = 4
_SAMPLES = 256
_SAMPLE_BYTES = 4096


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint by its name, mapped from the file(s), on the CPU in the file's own dtype.

    Raises:
        MissingWeightsError: nothing is there, the file is cut short, is no checkpoint, or holds code.
    """
    state: dict[str, torch.Tensor] = {}
    for file in find_files(path):
        part = _load_safetensors(file) if file.suffix == ".safetensors" else _load_pickle(file)
        twice = sorted(state.keys() & part.keys())
        if twice:
            raise MissingWeightsError(f"{file}: holds {_some(twice)}, which another shard of {path} holds too")
        state |= part
    return state


def find_files(path: Path) -> list[Path]:
    """The files of a checkpoint: ``path`` itself, or what a folder holds (the shards of an index, or the only file).

    Raises:
        MissingWeightsError: there is nothing there, or more than one checkpoint to choose from.
    """
    if path.is_file():
        if path.suffix not in (".safetensors", *PICKLES):
            raise MissingWeightsError(
                f"{path}: got {path.suffix or 'no suffix'}, expected .safetensors or .pth weights"
            )
        return [path]
    if not path.is_dir():
        raise MissingWeightsError(f"{path}: no such file (looked for it at {path.absolute()}). {_how_to_get(path)}")
    for pattern in ("*.safetensors.index.json", "*.bin.index.json"):
        for index in sorted(path.glob(pattern)):
            return _shards(index)
    for suffixes in ((".safetensors",), PICKLES):
        found = sorted(file for file in path.iterdir() if file.suffix in suffixes)
        if len(found) > 1:
            names = _some([file.name for file in found])
            raise MissingWeightsError(
                f"{path}: {len(found)} checkpoints in this folder ({names}); name the file itself"
            )
        if found:
            return found
    raise MissingWeightsError(f"{path}: no weights in this folder, expected a .safetensors file. {_how_to_get(path)}")


def load_strict(
    module: nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    source: Path,
    rename: Callable[[str], str | None] = lambda key: key,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Put a checkpoint's tensors in the place of a module's parameters and buffers.

    Args:
        module: best built on the meta device, where it has shapes but no storage.
        state: tensors by the file's names.
        source: where they come from, for messages.
        rename: from the file's name to the module's; None for a tensor that is left out on purpose.
        device: where the module shall live; None: where the tensors are.
        dtype: of the floating-point tensors; None: the file's.

    Raises:
        MissingWeightsError: a key is missing, unexpected or of another shape; all kinds are named, and how many.
    """
    expected = module.state_dict()
    given: dict[str, str] = {}
    for key in state:
        name = rename(key)
        if name is not None:
            assert name not in given, f"{key} and {given[name]} are both renamed to {name}"
            given[name] = key
    missing = [name for name in expected if name not in given]
    unexpected = [key for name, key in given.items() if name not in expected]
    shapes = [
        f"{key} is {_shape(state[key])}, expected {_shape(expected[name])}"
        for name, key in given.items()
        if name in expected and state[key].shape != expected[name].shape
    ]
    problems = [
        f"{len(found)} {kind} ({_some(found)})"
        for kind, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if found
    ]
    if problems:
        cause = (
            "a config for another size of this model?"
            if shapes and not missing and not unexpected
            else "a checkpoint of another model, or of another version?"
        )
        raise MissingWeightsError(
            f"{source}: its keys do not fit {type(module).__name__}: {'; '.join(problems)}. "
            f"Is it {cause} Check the path and the config. {_get_again(source)}"
        )
    converted = {name: _convert(state[key], device, dtype) for name, key in given.items()}
    module.load_state_dict(converted, strict=True, assign=True)
    bare = [name for name, value in (*module.named_parameters(), *module.named_buffers()) if value.is_meta]
    assert not bare, f"{type(module).__name__}: {_some(bare)} are in no checkpoint and still have no storage"
    # Loading by assignment takes over the tensors' own flag; nothing here is ever trained.
    module.requires_grad_(False)


def weights_fingerprint(path: Path) -> str:
    """32 hexadecimal digits that change when a checkpoint does, without reading it whole.

    Hashes every file's name, size, and 256 pieces of 4 KiB spread evenly from its first byte to its last (so the header
    of a small safetensors file is in it whole, and every ~10 MB of a 3 GB file are represented). Training and
    conversion change all bytes and are noticed; a change confined to fewer bytes than lie between two pieces may
    not be. Files up to 1 MiB are hashed whole.

    Raises:
        MissingWeightsError: there is nothing there.
    """
    digest = hashlib.sha256()
    for file in find_files(path):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as handle:
            if size <= _SAMPLES * _SAMPLE_BYTES:
                digest.update(handle.read())
                continue
            for index in range(_SAMPLES):
                handle.seek((size - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
                digest.update(handle.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:32]


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise MissingWeightsError(f"{index}: is no index of shards ({error}). {_how_to_get(index)}") from error
    # A name comes from a downloaded file: nothing outside the folder is read on its account.
    files = [index.parent / Path(name).name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise MissingWeightsError(
            f"{index.parent}: {len(missing)} of {len(files)} shards missing ({_some(missing)}). {_how_to_get(index)}"
        )
    return files


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    _check_safetensors(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as handle:
            return {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise MissingWeightsError(f"{path}: cannot be read as safetensors ({error}). {_get_again(path)}") from error


def _check_safetensors(path: Path) -> None:
    """Compare the file's length with what its own header promises, which is what tells a cut from a wrong file."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        header_size = int.from_bytes(handle.read(8), "little")
        if size < 8 or 8 + header_size > size:
            kind = "is cut short" if size < 8 or header_size < 100_000_000 else "is no safetensors file"
            raise MissingWeightsError(f"{path}: {kind} ({size} bytes, its header does not fit). {_get_again(path)}")
        try:
            header = json.loads(handle.read(header_size))
            end = max((v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MissingWeightsError(f"{path}: is no safetensors file ({error}). {_get_again(path)}") from error
    if size < 8 + header_size + end:
        raise MissingWeightsError(
            f"{path}: is cut short: {size} bytes, its header promises {8 + header_size + end}. {_get_again(path)}"
        )


def _load_pickle(path: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as handle:
        start = handle.read(4)
    zipped = start == b"PK\x03\x04"
    if zipped and not zipfile.is_zipfile(path):
        raise MissingWeightsError(
            f"{path}: is cut short: {path.stat().st_size} bytes, and the table of contents at its end is gone. "
            f"{_get_again(path)}"
        )
    if not zipped and start[:2] != b"\x80\x02":
        raise MissingWeightsError(
            f"{path}: is no torch file (it starts with {start!r}); nothing in it was run. {_get_again(path)}"
        )
    try:
        # Files from before torch 1.6 are no zip archives and cannot be mapped.
        value: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        asked_for = re.search(r"GLOBAL\s+(\S+)", str(error))
        cause = f"it asks for {asked_for[1]}" if asked_for else "it is no dict of tensors"
        raise MissingWeightsError(
            f"{path}: refused, nothing in it was run: expected tensors only, but {cause}. {_get_again(path)}"
        ) from error
    except (RuntimeError, EOFError) as error:
        cause = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise MissingWeightsError(
            f"{path}: cannot be read, cut short or damaged ({cause}). {_get_again(path)}"
        ) from error
    if not isinstance(value, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in value.values()):
        inside = (
            f"a dict with {_some([str(key) for key in value])}" if isinstance(value, dict) else type(value).__name__
        )
        raise MissingWeightsError(f"{path}: got {inside}, expected a plain dict of tensors. {_get_again(path)}")
    return value


def _convert(tensor: torch.Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> torch.Tensor:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _some(names: Sequence[str]) -> str:
    """The first few of many names."""
    shown = ", ".join(names[:_KEYS_SHOWN])
    return shown if len(names) <= _KEYS_SHOWN else f"{shown}, ... and {len(names) - _KEYS_SHOWN} more"


def _command(path: Path) -> str | None:
    """The command that downloads ``path``, where it lies in a folder that can be downloaded."""
    for part in reversed(path.absolute().parts):
        if part in DOWNLOADS:
            return f"scripts/download.sh {part}"
    return None


def _how_to_get(path: Path) -> str:
    command = _command(path)
    return (
        f"Get it: {command}" if command else "Check the path; `scripts/download.sh --help` lists what can be downloaded"
    )


def _get_again(path: Path) -> str:
    command = _command(path)
    return f"Get it again: {command}" if command else "Get it again from where it came from"


def weights_path(folder: Path) -> Path:
    """What ``load_state`` takes: the only file of weights in a model folder, or the folder of many."""
    files = find_files(folder)
    return files[0] if len(files) == 1 else folder
