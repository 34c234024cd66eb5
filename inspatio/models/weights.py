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
accepted (torch's ``weights_only``); a file that asks for more is refused and nothing in it runs. torch stores its
archives uncompressed, so an archive that declares more bytes than the file has is refused before anything is unpacked.
"""

from __future__ import annotations

import hashlib
import json
import operator
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from inspatio.errors import MissingWeightsError
from inspatio.locations import download_command
from inspatio.models.checkpoints import checkpoint_of, how_to_get

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PICKLES = (".pth", ".pt", ".bin")
_KEYS_SHOWN = 4
_SAMPLES = 256
# What the parsers were seen to raise on damaged files, by fuzzing (tests/support/strategies.py). Neither torch.load nor
# json.loads declares these, so they are listed once, here, and caught around the parser's call alone.
_DAMAGED_PICKLE = (
    RuntimeError,  # torch's archive reader: a bad checksum, a missing record, a storage of another size
    EOFError,
    ValueError,  # with UnicodeDecodeError: names that are not text, opcodes with impossible arguments
    LookupError,  # an empty stack, an unknown memo entry or storage
    TypeError,  # opcodes on values of another type
    AttributeError,
    AssertionError,  # torch's own checks of a persistent id
    OverflowError,
    MemoryError,  # a length that no file has
    struct.error,
    zipfile.BadZipFile,
)
_DAMAGED_JSON = (ValueError, RecursionError)
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


def read_json(path: Path) -> dict[str, Any]:
    """Read a model folder's JSON object: a ``config.json``, an index of shards.

    Raises:
        MissingWeightsError: the file cannot be read, or is not a JSON object.
    """
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingWeightsError(f"{path}: cannot be read ({error.strerror or error}). {how_to_get(path)}") from error
    except _DAMAGED_JSON as error:
        raise MissingWeightsError(f"{path}: not valid JSON ({_first_line(error)}). {_get_again(path)}") from error
    if not isinstance(value, dict):
        raise MissingWeightsError(f"{path}: got a JSON {type(value).__name__}, expected an object. {_get_again(path)}")
    return value


def _shards(index: Path) -> list[Path]:
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise MissingWeightsError(
            f"{index}: not a safetensors index: got no table of file names, expected one under weight_map. "
            f"{_get_again(index)}"
        )
    # The names come from a downloaded file and must not lead outside the folder.
    names = sorted({Path(name).name for name in table.values()})
    # Compared with the folder's listing, because a damaged name may be none that the system accepts.
    present = {file.name for file in index.parent.iterdir() if file.suffix in (".safetensors", *PICKLES)}
    missing = [name for name in names if name not in present]
    if missing:
        raise MissingWeightsError(
            f"{index.parent}: {len(missing)} of {len(names)} shards are missing ({_some(missing)}). {how_to_get(index)}"
        )
    return [index.parent / name for name in names]


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    _check_safetensors(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as handle:
            return {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise MissingWeightsError(
            f"{path}: not readable as safetensors ({_first_line(error)}). {_get_again(path)}"
        ) from error


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
            header: Any = json.loads(handle.read(header_size))
            ends = [value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"]
            end = max(map(operator.index, ends), default=0)
        except (*_DAMAGED_JSON, AttributeError, LookupError, TypeError) as error:
            raise MissingWeightsError(
                f"{path}: not a safetensors file ({_first_line(error)}). {_get_again(path)}"
            ) from error
    if size < 8 + header_size + end:
        raise MissingWeightsError(
            f"{path}: cut short: got {size} bytes, expected {8 + header_size + end}. {_get_again(path)}"
        )


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``.

    Raises:
        MissingWeightsError: the file is missing or not a tokenizer.
    """
    from tokenizers import Tokenizer

    if not path.is_file():
        raise MissingWeightsError(
            f"{path}: no such file (looked for it at {path.absolute()}), expected a tokenizer. {how_to_get(path)}"
        )
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise MissingWeightsError(f"{path}: not UTF-8 text ({error}). {_get_again(path)}") from error
    except Exception as error:
        if type(error) is not Exception:  # the bare type is what tokenizers raises for a file that it cannot use
            raise
        raise MissingWeightsError(f"{path}: not a tokenizer ({_first_line(error)}). {_get_again(path)}") from error


def _load_pickle(path: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as handle:
        start = handle.read(4)
    zipped = start == b"PK\x03\x04"
    if zipped:
        _check_archive(path)
    elif start[:2] != b"\x80\x02":
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
    except _DAMAGED_PICKLE as error:
        raise MissingWeightsError(f"{path}: cut short or damaged ({_first_line(error)}). {_get_again(path)}") from error
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]  # as training code saves it, beside its own records
    if not isinstance(value, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in value.values()):
        inside = (
            f"a dict with {_some([str(key) for key in value])}" if isinstance(value, dict) else type(value).__name__
        )
        raise MissingWeightsError(f"{path}: got {inside}, expected a plain dict of tensors. {_get_again(path)}")
    names = [repr(key) for key in value if not isinstance(key, str)]
    if names:
        raise MissingWeightsError(f"{path}: got {_some(names)} as names of tensors, expected text. {_get_again(path)}")
    return value


def _check_archive(path: Path) -> None:
    """Compare the sizes that an archive's directory declares with the file's, before anything is unpacked."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    # NotImplementedError: a version or feature of the format that zipfile does not know.
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, struct.error) as error:
        raise MissingWeightsError(
            f"{path}: cut short or damaged: got {size} bytes without a whole zip directory at the end "
            f"({_first_line(error)}). {_get_again(path)}"
        ) from error
    declared = sum(entry.file_size for entry in entries)
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed or declared > size:
        raise MissingWeightsError(
            f"{path}: refused, nothing was unpacked: got an archive that declares {declared} bytes in a file of {size} "
            f"({len(packed)} compressed), expected uncompressed tensors as torch writes them. {_get_again(path)}"
        )


def _convert(tensor: torch.Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> torch.Tensor:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
