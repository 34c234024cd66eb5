"""Damaged and odd input for every reader of files, as hypothesis strategies.

A case is a folder: relative path -> bytes. :data:`READERS` holds, for each reader, the strategy of its cases, a
function that reads such a folder, and the errors that the reader declares. :func:`read_case` lets everything else
through: an undeclared exception is a bug, and so is a reader that takes longer than :data:`LONGEST`.

``tests/test_fuzz.py`` draws some cases of each in the suite, ``scripts/fuzz.py`` as many as there is time for.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.clips import encode, write_clip
from support.geometry_folders import FRAMES, SIZE, WRITERS
from support.paths import ROOT
from tiny import florence, wan

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats import load_trajectory
from inspatio.cameras.formats.paths import write_path
from inspatio.captioning.captions import read_sidecar
from inspatio.config import load_profile
from inspatio.errors import ClipError, MissingWeightsError, UsageError, UserError
from inspatio.geometry.imported import FilesGeometry
from inspatio.live.protocol import parse as parse_message
from inspatio.media import FrameIndex, VideoInfo, VideoReader, probe
from inspatio.models.depth_anything3.checkpoint import open_folder
from inspatio.models.florence2.checkpoint import FlorenceFolder
from inspatio.models.wan.checkpoint import read_config
from inspatio.models.wan.text_encoder import TOKENIZER_FILE, load_tokenizer
from inspatio.models.weights import load_state
from inspatio.models.worldfm import checkpoint as worldfm
from inspatio.pipeline.journal import FORMAT as JOURNAL_FORMAT
from inspatio.pipeline.journal import content_hash
from inspatio.pipeline.manifest import FORMAT, VERSION, Manifest
from inspatio.pipeline.public_manifest import read_public
from inspatio.types import PathFormat

Case: TypeAlias = dict[str, bytes]
LONGEST = 10.0
"""Seconds of CPU time that reading a case may take; each is a few kilobytes."""


@dataclass(frozen=True)
class Reader:
    """A function that reads a folder of files, its cases, and the errors that it may raise."""

    cases: Callable[[], st.SearchStrategy[Case]]
    read: Callable[[Path], object]
    declared: type[Exception]


def read_case(reader: Reader, case: Case, folder: Path) -> bool:
    """Write a case into an emptied folder and read it; False where the reader refused it with a declared error."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in case.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    start = time.process_time()
    try:
        reader.read(folder)
        return True
    except reader.declared as error:
        if not str(error):
            raise AssertionError("an error without a message") from error
        return False
    finally:
        taken = time.process_time() - start
        assert taken < LONGEST, f"took {taken:.0f} s"


# Damage


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """A file with bytes flipped, cut out, put in, or without its end; the first bytes are hit more often."""
    place = st.floats(0, 1) | st.floats(0, 1).map(lambda share: share**4)
    edit = st.tuples(st.sampled_from(("flip", "cut", "insert", "end")), place, st.binary(min_size=1, max_size=8))

    def apply(edits: Sequence[tuple[str, float, bytes]]) -> bytes:
        data = bytearray(content)
        for kind, share, piece in edits:
            start = int(share * len(data))
            end = start + len(piece)
            if kind == "end":
                del data[start:]
            else:
                data[start : start if kind == "insert" else end] = b"" if kind == "cut" else piece
        return bytes(data)

    return st.lists(edit, min_size=1, max_size=6).map(apply)


def odd_json() -> st.SearchStrategy[Any]:
    """JSON values of every kind, and those that parsers stumble over: huge, negative, NaN, NUL, lone surrogates."""
    numbers = st.integers() | st.floats() | st.sampled_from((0, -1, 10**400, 2**63, 1e308, 1e-308, True))
    odd = st.sampled_from(("", "\0", "..", "/dev/null", "x" * 5000, "\ud800", "²", "1"))
    words = st.text(max_size=8) | odd
    leaves = st.none() | numbers | words | odd
    return leaves | st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=5
    )


def altered_json(record: Any) -> st.SearchStrategy[bytes]:
    """A valid record with some values replaced or left out; or text that is no such record at all."""

    def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [path] * bool(path) + [place for key, each in inside for place in places(each, (*path, key))]

    def apply(changes: list[tuple[tuple[Any, ...], Any, bool]]) -> bytes:
        changed = json.loads(json.dumps(record))
        for path, value, leave_out in changes:
            target = changed
            try:
                for key in path[:-1]:
                    target = target[key]
                if leave_out:
                    del target[path[-1]]
                else:
                    target[path[-1]] = value
            except (LookupError, TypeError):  # an earlier change took the place away
                continue
        return json.dumps(changed).encode()

    change = st.tuples(st.sampled_from(places(record)), odd_json(), st.booleans())
    broken = st.sampled_from((b"", b"[" * 20_000, b'{"a":' * 20_000, b"9" * 5000, b"\xff\xfe", b"NaN", b"null"))
    text = json.dumps(record).encode()
    altered = st.lists(change, min_size=1, max_size=3).map(apply)
    return altered | odd_json().map(lambda value: json.dumps(value).encode()) | damaged(text) | broken


def one_file(name: str, contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[Case]:
    return contents.map(lambda content: {name: content})


# Valid input to start from


@cache
def _made(make: Callable[[Path], object]) -> Case:
    """What a function writes into a folder, as a case."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "made")
        make(folder)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _write_weights(folder: Path) -> None:
    folder.mkdir()
    state = {f"blocks.{i}.weight": torch.ones(3, 4) for i in range(4)}
    torch.save(state, folder / "archive.pth")
    torch.save(state, folder / "stream.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "tensors.safetensors")


def _write_videos(folder: Path) -> None:
    folder.mkdir()
    encode(folder / "clip.mp4", 10)
    encode(folder / "clip.mkv", 10)
    encode(folder / "clip.avi", 10, codec="mpeg4")


def _write_florence(folder: Path) -> None:
    for layout in get_args(florence.Layout):
        (folder / layout).mkdir(parents=True)
        florence.write_settings(folder / layout, layout)


def _write_index(folder: Path) -> None:
    folder.mkdir()
    _clip().index.save(folder / "clip.npz", "00")


@cache
def _clip() -> VideoInfo:
    """The clip that geometry folders belong to; it lives as long as the process."""
    folder = tempfile.TemporaryDirectory()
    _kept.append(folder)
    return probe(write_clip(Path(folder.name, "clip.mp4"), FRAMES, SIZE))


_kept: list[tempfile.TemporaryDirectory] = []

_FACTS = {"height": 48, "width": 96, "frame_count": 9, "frame_rate": "24/1", "duration": 0.4, "rotation": 0}
_FACTS |= {"has_audio": False, "variable_frame_rate": False, "stored_height": 48, "stored_width": 96, "mirrored": False}
_CLIP = {
    "id": "one",
    "source": {"fingerprint": "00", "path": "../in/one.mp4", "file_size": 5, "video": _FACTS},
    "caption": {"fingerprint": "01", "text": "a room", "origin": "sidecar"},
}
_MANIFEST = {"format": FORMAT, "version": VERSION, "kind": "work", "input": "in", "work": None, "clips": [_CLIP]}
_PUBLIC = [{"video_path": "a.mp4", "text": "a room", "vggt_depth_path": "d", "vggt_extrinsics_path": "e"}]
_WAN = {
    "dim": 96,
    "ffn_dim": 192,
    "num_heads": 4,
    "num_layers": 3,
    "text_dim": 64,
    "eps": 1e-6,
    "patch_size": [1, 2, 2],
}
_WORLDFM = {"hidden_size": 64, "depth": 2, "num_heads": 4, "input_size": 16, "pe_interpolation": 1.0, "patch_size": 2}
_WORLDFM |= {"in_channels": 4, "qk_norm": False, "pred_sigma": True, "camera_encoding": "prope"}
_PROFILE = {
    "description": "small",
    "height": 96,
    "width": 160,
    "caption": {"backend": "sidecar"},
    "geometry": {"backend": "plane", "longest": 126},
    "render": {},
    "generator": {"backend": "preview", "precision": "fp32"},
}
_INDEX = {"metadata": {"total_size": 5}, "weight_map": {"a": "tensors.safetensors"}}


# Cases and readers


def camera_paths() -> st.SearchStrategy[Case]:
    """Camera paths of other programs: JSON and glTF with values replaced, arrays and text damaged."""
    made = _made(_write_paths)
    texts = [one_file(name, altered_json(json.loads(made[name]))) for name in made if name.endswith(("json", "gltf"))]
    return st.one_of([*texts, *(one_file(name, damaged(content)) for name, content in made.items())])


def _write_paths(folder: Path) -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = np.arange(3)
    cameras = Cameras.from_poses(poses, np.array([[50, 0, 34.5], [0, 50, 20.5], [0, 0, 1.0]]))
    for name, kind in _PATHS.items():
        write_path(folder / name, cameras, (42, 70), kind)


_PATHS: dict[str, PathFormat] = {
    "camera_path.json": "nerfstudio",
    "transforms.json": "transforms",
    "camera_extrinsics.json": "recammaster",
    "path.gltf": "gltf",
    "path.npz": "lyra",
    "path.chan": "chan",
    "path.txt": "re10k",
}


def trajectories() -> st.SearchStrategy[Case]:
    """Lines of numbers and near-numbers in the counts that the formats have, or none of them."""
    odd = st.sampled_from(("nan", "inf", "-inf", "1e308", "1e9", "-0", "²", "٣", "1_0", "0x1", "", "#", ",", "\0", "²"))
    number = (st.integers(-400, 400) | st.floats()).map(str) | odd
    lines = st.lists(st.lists(number, max_size=17).map(" ".join), max_size=6)
    whole = b"0 10 20\n0\n0 0.2 0.4\n"
    return one_file("path.txt", lines.map(lambda rows: "\n".join(rows).encode()) | damaged(whole) | st.binary())


def camera_files() -> st.SearchStrategy[Case]:
    record = json.loads(_made(WRITERS["native"])["cameras.json"])
    return one_file("cameras.json", altered_json(record))


def geometry_folders() -> st.SearchStrategy[Case]:
    """Folders of every format with one file damaged, left out or replaced by another of them."""

    def spoil(files: Case) -> st.SearchStrategy[Case]:
        name = st.sampled_from(sorted(files))
        hit = name.flatmap(lambda chosen: damaged(files[chosen]).map(lambda content: {**files, chosen: content}))
        gone = name.map(lambda chosen: {key: value for key, value in files.items() if key != chosen})
        swapped = st.tuples(name, name).map(lambda pair: {**files, pair[0]: files[pair[1]]})
        return hit | hit | gone | swapped

    return st.one_of([spoil(_made(writer)) for writer in WRITERS.values()])


def weights() -> st.SearchStrategy[Case]:
    files = _made(_write_weights)
    single = [one_file(name, damaged(content)) for name, content in files.items()]
    shards = altered_json(_INDEX).map(
        lambda index: {"tensors.safetensors": files["tensors.safetensors"], "model.safetensors.index.json": index}
    )
    return st.one_of([*single, shards])


def florence_folders() -> st.SearchStrategy[Case]:
    """The files of either layout that are read before the weights, one of them altered."""

    def spoil(layout: str, name: str) -> st.SearchStrategy[Case]:
        made = {Path(path): content for path, content in _made(_write_florence).items()}
        files = {path.name: content for path, content in made.items() if path.parent.name == layout}
        return altered_json(json.loads(files[name])).map(lambda content: {**files, name: content})

    read = ("config.json", "preprocessor_config.json", "tokenizer.json")
    return st.one_of([spoil(layout, name) for layout in get_args(florence.Layout) for name in read])


def tokenizers() -> st.SearchStrategy[Case]:
    return one_file(str(TOKENIZER_FILE), altered_json(json.loads(wan.make_tokenizer().to_str())))


def messages() -> st.SearchStrategy[Case]:
    """What the page of `inspatio live` sends, altered."""
    examples = json.loads((ROOT / "tests/live/protocol.json").read_text(encoding="utf-8"))["from_page"]
    return st.one_of([one_file("message.json", altered_json(example)) for example in examples])


def journals() -> st.SearchStrategy[Case]:
    """A manifest with a journal of one record that is altered, or with a journal of which any bytes are."""
    manifest = json.dumps(_MANIFEST).encode()
    header = json.dumps({"format": JOURNAL_FORMAT, "version": 1, "manifest": content_hash(manifest)}).encode() + b"\n"
    record = altered_json(_CLIP).map(lambda line: header + line.replace(b"\n", b" ") + b"\n")
    changed = st.one_of([record, damaged(header + json.dumps(_CLIP).encode() + b"\n")])
    return changed.map(lambda lines: {"manifest.json": manifest, "manifest.journal.jsonl": lines})


def frame_indices() -> st.SearchStrategy[Case]:
    return one_file("clip.npz", damaged(_made(_write_index)["clip.npz"]))


def videos() -> st.SearchStrategy[Case]:
    return st.one_of([one_file(name, damaged(content)) for name, content in _made(_write_videos).items()])


def _read_geometry(folder: Path) -> None:
    out = folder.with_name(f"{folder.name} read")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    FilesGeometry(folder).estimate(_clip(), out, lambda done, total: None)


def _read_index(folder: Path) -> None:
    if FrameIndex.load(folder / "clip.npz", "00") is None:
        raise ClipError("the video is probed again")


def _read_weights(folder: Path) -> None:
    files = list(folder.iterdir())
    load_state(files[0] if len(files) == 1 else folder)


def _read_video(folder: Path) -> None:
    with VideoReader(next(folder.iterdir())) as reader:
        last = len(reader) - 1
        reader.read([last])
        reader.read([0])


READERS: dict[str, Reader] = {
    "trajectory": Reader(trajectories, lambda folder: load_trajectory(folder / "path.txt"), UsageError),
    "camera path": Reader(camera_paths, lambda folder: load_trajectory(next(folder.iterdir())), UsageError),
    "cameras": Reader(
        camera_files, lambda folder: CameraFile.load(folder / "cameras.json", "Make it again."), ClipError
    ),
    "manifest": Reader(
        lambda: one_file("manifest.json", altered_json(_MANIFEST)),
        lambda folder: Manifest.open(folder, input=folder / "in"),
        UserError,
    ),
    "journal": Reader(journals, lambda folder: Manifest.read_clips(folder), UserError),
    "clip_list": Reader(
        lambda: one_file("new.json", altered_json(_PUBLIC)), lambda folder: read_public(folder / "new.json"), UsageError
    ),
    "caption": Reader(
        lambda: one_file("clip.txt", st.binary() | st.text().map(str.encode)),
        lambda folder: read_sidecar(folder / "clip.mp4"),
        ClipError,
    ),
    "config": Reader(
        # JSON is YAML, so that altered records reach the checks of values; bytes reach the parser.
        lambda: one_file("profile.yaml", altered_json(_PROFILE) | st.binary() | st.text().map(str.encode)),
        lambda folder: load_profile(folder / "profile.yaml"),
        UsageError,
    ),
    "geometry": Reader(geometry_folders, _read_geometry, ClipError),
    "weights": Reader(weights, _read_weights, MissingWeightsError),
    "wan_config": Reader(
        lambda: one_file("config.json", altered_json(_WAN)),
        lambda folder: read_config(folder / "model.safetensors", folder),
        UserError,
    ),
    "da3_config": Reader(
        lambda: one_file("config.json", altered_json({"model_name": "da3-tiny"})), open_folder, MissingWeightsError
    ),
    "worldfm_config": Reader(
        lambda: one_file("config.json", altered_json(_WORLDFM)),
        lambda folder: worldfm.read_config(folder / "model.safetensors"),
        UserError,
    ),
    "live_message": Reader(
        messages, lambda folder: parse_message((folder / "message.json").read_text(errors="replace")), ValueError
    ),
    "florence": Reader(florence_folders, FlorenceFolder.read, MissingWeightsError),
    "tokenizer": Reader(tokenizers, load_tokenizer, MissingWeightsError),
    "frame_index": Reader(frame_indices, _read_index, ClipError),
    "video": Reader(videos, _read_video, ClipError),
}
