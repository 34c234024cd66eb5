"""Training data on disk: encoded samples in shards, so that training loads no autoencoder and no text encoder.

    with ShardWriter(folder, facts) as writer:
        writer.add("clip_0001", {"source": ..., "target": ..., ...})
    shards = Shards.open(folder)
    shards[3].tensors["source"]

    index.json              version, facts (what the latents are of, and how they were made), the shards and their
    samples shard_00000.safetensors tensors named ``<sample>/<tensor>``, latents in float16, mapped and read on demand
    prompts.safetensors     embeddings by prompt number, without padding; number 0 is the one of guidance

A clip sample of InSpatio-World holds ``source``, ``target`` and ``render`` (``f 16 h w``) and ``mask`` (``f 4 h w``,
the packed coverage); a frame sample of WorldFM holds ``source``, ``target`` and ``render`` (``n 4 h w``) and
``cameras`` (``2 n 4 4`` world-to-camera of source and target) with ``intrinsics`` (``3 3``). The index is written last,
so a folder without one was not finished. Its name and size tell a shard that was cut short before training starts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import safe_open

from inspatio.errors import UserError
from inspatio.models.weights import load_state
from inspatio.storage import write_json
from inspatio.training.tensors import write_tensors

VERSION = 1
INDEX_NAME, PROMPTS_NAME = "index.json", "prompts.safetensors"
SAMPLES_PER_SHARD = 32
GUIDANCE_PROMPT = 0
"""Number of the prompt that guidance goes away from, and that stands for none."""


@dataclass(frozen=True)
class StoredSample:
    """One sample as it was written: tensors in float32, and its prompt's embeddings ``m c``."""

    name: str
    tensors: dict[str, torch.Tensor]
    text: torch.Tensor
    no_text: torch.Tensor


class ShardWriter:
    """Writes a folder of shards; a context manager that finishes the folder where nothing went wrong."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self._facts = dict(facts)
        self._shards: list[dict[str, Any]] = []
        self._pending: dict[str, dict[str, torch.Tensor]] = {}
        self._prompts: dict[str, torch.Tensor] = {}
        self._numbers: dict[str, int] = {}
        (folder / INDEX_NAME).unlink(missing_ok=True)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
            write_tensors(self.folder / PROMPTS_NAME, self._prompts)
            write_json(
                self.folder / INDEX_NAME,
                {"version": VERSION, **self._facts, "shards": self._shards, "prompts": self._numbers},
            )

    def add_prompt(self, embeddings: torch.Tensor) -> int:
        """Keep a prompt's embeddings ``m c``; returns its number. The first one is guidance's."""
        number = len(self._prompts)
        self._prompts[str(number)] = embeddings.cpu()
        return number

    def add(self, name: str, tensors: Mapping[str, torch.Tensor], prompt: int = GUIDANCE_PROMPT) -> None:
        """Add a sample."""
        assert name not in self._numbers, f"two samples are called {name}"
        self._numbers[name] = prompt
        self._pending[name] = {key: value.cpu() for key, value in tensors.items()}
        if len(self._pending) == SAMPLES_PER_SHARD:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        path = self.folder / f"shard_{len(self._shards):05d}.safetensors"
        state = {f"{name}/{key}": value for name, each in self._pending.items() for key, value in each.items()}
        write_tensors(path, state)
        self._shards.append({"file": path.name, "bytes": path.stat().st_size, "samples": list(self._pending)})
        self._pending = {}


class Shards:
    """The samples of a folder, read on demand."""

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        self.folder = folder
        self.facts = {key: value for key, value in index.items() if key not in ("shards", "prompts")}
        self.samples = [(shard["file"], name) for shard in index["shards"] for name in shard["samples"]]
        self._numbers: dict[str, int] = dict(index["prompts"])
        self._prompts = load_state(folder / PROMPTS_NAME)

    @classmethod
    def open(cls, folder: Path, kind: str | None = None) -> Shards:
        """Open a folder of shards, and check that all of them are there whole.

        Args:
            folder: what `inspatio train prepare` wrote.
            kind: the kind of samples wanted, ``clips`` or ``frames``.

        Raises:
            UserError: there are none, they are of another version or kind, or a shard is missing or cut short.
        """
        again = f"Run inspatio train prepare again with --output_folder {folder}"
        try:
            index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{folder}: no training data: got no {INDEX_NAME}, expected one. {again}") from error
        except ValueError as error:
            raise UserError(f"{folder / INDEX_NAME}: not valid JSON ({error}). {again}") from error
        if not isinstance(index, dict) or index.get("version") != VERSION:
            raise UserError(f"{folder / INDEX_NAME}: got another version, expected {VERSION}. {again}")
        if kind is not None and index["kind"] != kind:
            raise UserError(
                f"{folder}: got training data of {index['kind']}, expected {kind}. Prepare it for the stage"
            )
        for shard in index["shards"]:
            path = folder / shard["file"]
            size = path.stat().st_size if path.is_file() else 0
            if size != shard["bytes"]:
                raise UserError(f"{path}: missing or cut short: got {size} bytes, expected {shard['bytes']}. {again}")
        return cls(folder, index)

    def __len__(self) -> int:
        return len(self.samples)

    def name(self, index: int) -> str:
        return self.samples[index][1]

    def __getitem__(self, index: int) -> StoredSample:
        file, name = self.samples[index]
        with safe_open(self.folder / file, framework="pt", device="cpu") as handle:
            keys = [key for key in handle.keys() if key.startswith(f"{name}/")]  # noqa: SIM118 - not a dict
            tensors = {key.rpartition("/")[2]: handle.get_tensor(key).float() for key in keys}
        text = self._prompts[str(self._numbers[name])]
        return StoredSample(name, tensors, text, self._prompts[str(GUIDANCE_PROMPT)])
