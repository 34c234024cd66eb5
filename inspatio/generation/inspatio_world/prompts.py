"""Prompt embeddings on disk, so that the text encoder is never in memory together with the generator.

    prompts = PromptCache(wan_folder, cache_folder)
    prompts.prepare(all_prompts)         # loads the encoder if one of them is new, and drops it again
    ... load the generator ...
    embeddings = prompts(prompt)         # 1 512 c, from disk

A file holds one prompt's embeddings without their padding (8 KiB a token in the published size). Its name says the
cleaned prompt and the encoder (weights, tokenizer, version of this module), so another encoder never finds it. Files
are written whole or not at all; several processes may write the same one.
"""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import save_file

from inspatio.errors import MissingWeightsError
from inspatio.models.checkpoints import how_to_get
from inspatio.models.memory import release_memory
from inspatio.models.wan.text_encoder import (
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    TextEncoder,
    clean_prompt,
    load_tokenizer,
    pad_embeddings,
)
from inspatio.models.weights import load_state, weights_fingerprint
from inspatio.storage import atomic_file

VERSION = 1
"""Raised when the same prompt and the same encoder give other embeddings than before."""

_KEY = "embeddings"
_log = logging.getLogger(__name__)


class PromptCache:
    """Prompt embeddings on disk, encoded when they are first asked for.

    ``device`` is where the encoder runs (on the CPU it needs no memory of its own: it runs from its file).
    """

    def __init__(self, wan_folder: Path, folder: Path, *, device: torch.device | str = "cpu") -> None:
        self.wan_folder = wan_folder
        self.folder = folder
        self.device = device

    def __call__(self, prompt: str) -> torch.Tensor:
        """``1 512 c`` embeddings on the CPU, zeros after the prompt's tokens.

        Raises:
            MissingWeightsError: the prompt is new, and the text encoder is not there.
        """
        self.prepare([prompt])
        return pad_embeddings(load_state(self.path(prompt))[_KEY])

    def prepare(self, prompts: Iterable[str]) -> None:
        """Encode the prompts that are not on disk yet; load the encoder only if there are any, and drop it afterwards.

        Raises:
            MissingWeightsError: some prompt is new, and the text encoder is not there.
        """
        new = [prompt for prompt in dict.fromkeys(map(clean_prompt, prompts)) if not self._is_there(prompt)]
        if not new:
            return
        _log.info("encoding %d prompt(s) on %s", len(new), self.device)
        encoder = TextEncoder.load(self.wan_folder, device=self.device)
        for prompt in new:
            embeddings = encoder.embed(prompt)
            if not embeddings.isfinite().all():
                raise MissingWeightsError(
                    f"{self.wan_folder / WEIGHTS_FILE}: gives NaN or infinite embeddings; its weights are damaged. "
                    f"{how_to_get('Wan2.1-T2V-1.3B')}"
                )
            with atomic_file(self.path(prompt)) as part:
                save_file({_KEY: embeddings.cpu().contiguous()}, part, metadata={"prompt": prompt})
        del encoder
        gc.collect()
        release_memory(torch.device(self.device))

    def path(self, prompt: str) -> Path:
        """Where a prompt's embeddings are kept."""
        digest = hashlib.sha256(clean_prompt(prompt).encode()).hexdigest()[:32]
        return self.folder / f"{digest}-{self.fingerprint}.safetensors"

    @cached_property
    def fingerprint(self) -> str:
        """The encoder, in 16 hexadecimal digits: its weights, its tokenizer and this module's version.

        Raises:
            MissingWeightsError: the encoder is not there.
        """
        load_tokenizer(self.wan_folder)  # says what is wrong with it
        digest = hashlib.sha256(f"{VERSION} {weights_fingerprint(self.wan_folder / WEIGHTS_FILE)}".encode())
        digest.update((self.wan_folder / TOKENIZER_FILE).read_bytes())
        return digest.hexdigest()[:16]

    def _is_there(self, prompt: str) -> bool:
        path = self.path(prompt)
        if not path.is_file():
            return False
        try:
            return _KEY in load_state(path)
        except MissingWeightsError as error:
            _log.warning("encoding a prompt again: %s", error)
            return False
