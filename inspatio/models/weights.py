"""Load checkpoints strictly, by memory map, without executing anything in them.

    state = load_state(path)                            # tensors mapped from the file
    with torch.device("meta"):
        network = Network(config)                       # shapes without storage
    load_strict(network, state, source=path, rename=adapter, device=device, dtype=dtype)

A checkpoint is a file (``.safetensors``, or ``.pth`` / ``.bin`` as torch writes them) or a folder with one checkpoint,
in one file or in shards. Mapped pages are read on first use and can be dropped again. Where neither device nor dtype
changes, the module keeps using the map; otherwise tensors are converted one at a time, so that peak memory is the
module's own size.

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
from inspatio.locations import download_command
from inspatio.models.checkpoints import checkpoint_of, how_to_get

PICKLES = (".pth", ".pt", ".bin")
_KEYS_SHOWN = 4
_SAMPLES = 256
_SAMPLE_BYTES = 4096


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Map every tensor of a checkpoint, by name, on the CPU in the file's own dtype.

    Raises:
        MissingWeightsError: the file is missing, cut short, not a checkpoint, or asks for code to run.
    """
    state: dict[str, torch.Tensor] = {}
    for file in find_files(path):
        part = _load_safetensors(file) if file.suffix == ".safetensors" else _load_pickle(file)
        twice = sorted(state.keys() & part.keys())
        if twice:
            raise MissingWeightsError(
                f"{file}: duplicate tensors: got {_some(twice)}, which another shard of {path} holds too"
            )
        state |= part
    return state


def find_files(path: Path) -> list[Path]:
    """List the files of a checkpoint: ``path`` itself, the shards of a folder's index, or a folder's only weights file.

    Raises:
        MissingWeightsError: nothing is there, or a folder holds several checkpoints.
    """
    if path.is_file():
        if path.suffix not in (".safetensors", *PICKLES):
            raise MissingWeightsError(
                f"{path}: got {path.suffix or 'no suffix'}, expected .safetensors or .pth weights"
            )
        return [path]
    if not path.is_dir():
        raise MissingWeightsError(f"{path}: no such file (looked for it at {path.absolute()}). {how_to_get(path)}")
    for pattern in ("*.safetensors.index.json", "*.bin.index.json"):
        for index in sorted(path.glob(pattern)):
            return _shards(index)
    for suffixes in ((".safetensors",), PICKLES):
        found = sorted(file for file in path.iterdir() if file.suffix in suffixes)
        if len(found) > 1:
            names = _some([file.name for file in found])
            raise MissingWeightsError(
                f"{path}: got {len(found)} checkpoints in this folder ({names}), expected one. Name the file itself."
            )
        if found:
            return found
    raise MissingWeightsError(f"{path}: no weights in this folder, expected a .safetensors file. {how_to_get(path)}")


def load_strict(
    module: nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    source: Path,
    rename: Callable[[str], str | None] = lambda key: key,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Assign a checkpoint's tensors to a module's parameters and buffers; every key and shape must match.

    Args:
        module: built on the meta device (shapes without storage), so that nothing is allocated twice.
        state: tensors by the file's names.
        source: their file, for messages.
        rename: maps the file's name to the module's; None leaves a tensor out on purpose.
        device: the module's device; None keeps the tensors where they are.
        dtype: dtype of the floating-point tensors; None keeps the file's.

    Raises:
        MissingWeightsError: keys are missing, unexpected or of another shape; the message counts and names each kind.
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
            f"{source}: keys do not match {type(module).__name__}: {'; '.join(problems)}. "
            f"Is it {cause} Check the path and the config. {_get_again(source)}"
        )
    converted = {name: _convert(state[key], device, dtype) for name, key in given.items()}
    module.load_state_dict(converted, strict=True, assign=True)
    bare = [name for name, value in (*module.named_parameters(), *module.named_buffers()) if value.is_meta]
    assert not bare, f"{type(module).__name__}: {_some(bare)} are not in the checkpoint and have no storage"
    # Loading by assignment takes over the tensors' own flag. Inference is the default; training switches it on.
    module.requires_grad_(False)


def weights_fingerprint(path: Path) -> str:
    """Identify a checkpoint by 32 hexadecimal digits without reading all of it.

    Hashes every file's name, size, and 256 samples of 4 KiB spread evenly from its first byte to its last (one every
    12 MB of a 3 GB file). Training and conversion change all bytes and are noticed; a change that lies between two
    samples is not. Files up to 1 MiB are hashed whole. Paths are not part of it.

    Raises:
        MissingWeightsError: the checkpoint is missing.
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
        raise MissingWeightsError(f"{index}: not a safetensors index ({error}). {_get_again(index)}") from error
    # The names come from a downloaded file and must not lead outside the folder.
    files = [index.parent / Path(name).name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise MissingWeightsError(
            f"{index.parent}: {len(missing)} of {len(files)} shards are missing ({_some(missing)}). {how_to_get(index)}"
        )
    return files


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    _check_safetensors(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as handle:
            return {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise MissingWeightsError(f"{path}: not readable as safetensors ({error}). {_get_again(path)}") from error


def _check_safetensors(path: Path) -> None:
    """Compare the file's length with its header, to tell a truncated file from one of another format."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        header_size = int.from_bytes(handle.read(8), "little")
        if size < 8 or 8 + header_size > size:
            kind = "cut short" if size < 8 or header_size < 100_000_000 else "not a safetensors file"
            raise MissingWeightsError(
                f"{path}: {kind}: got {size} bytes, expected a header of {header_size}. {_get_again(path)}"
            )
        try:
            header = json.loads(handle.read(header_size))
            end = max((v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MissingWeightsError(f"{path}: not a safetensors file ({error}). {_get_again(path)}") from error
    if size < 8 + header_size + end:
        raise MissingWeightsError(
            f"{path}: cut short: got {size} bytes, expected {8 + header_size + end}. {_get_again(path)}"
        )


def _load_pickle(path: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as handle:
        start = handle.read(4)
    zipped = start == b"PK\x03\x04"
    if zipped and not zipfile.is_zipfile(path):
        raise MissingWeightsError(
            f"{path}: cut short: got {path.stat().st_size} bytes without the zip directory at the end. "
            f"{_get_again(path)}"
        )
    if not zipped and start[:2] != b"\x80\x02":
        raise MissingWeightsError(
            f"{path}: not a torch file: got {start!r} as its first bytes; nothing in it was run. {_get_again(path)}"
        )
    try:
        # Files from before torch 1.6 are no zip archives and cannot be mapped.
        value: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        asked_for = re.search(r"GLOBAL\s+(\S+)", str(error))
        cause = f"it asks for {asked_for[1]}" if asked_for else "it is not a dict of tensors"
        raise MissingWeightsError(
            f"{path}: refused, nothing in it was run: expected tensors only, but {cause}. {_get_again(path)}"
        ) from error
    except (RuntimeError, EOFError) as error:
        cause = str(error).splitlines()[0] if str(error) else "unexpected end of file"
        raise MissingWeightsError(f"{path}: cut short or damaged ({cause}). {_get_again(path)}") from error
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
    """Join the first few names and count the rest."""
    shown = ", ".join(names[:_KEYS_SHOWN])
    return shown if len(names) <= _KEYS_SHOWN else f"{shown}, ... and {len(names) - _KEYS_SHOWN} more"


def _get_again(path: Path) -> str:
    # The downloader leaves a file of the right size alone, so a damaged one has to go first.
    row = checkpoint_of(path)
    if row is None or row.source is None:
        return "Get it again from where it came from."
    return f"Delete it and get it again with: {download_command(row.name)}"


def weights_path(folder: Path) -> Path:
    """The argument for ``load_state``: a model folder's only weights file, or the folder itself for shards."""
    files = find_files(folder)
    return files[0] if len(files) == 1 else folder
