"""Caption clips with Florence-2: the prompt of the generator, from one frame of the clip.

The image's features, then the task's instruction, go into the encoder; the decoder answers greedily with its key-value
cache on. The published pipeline's task is ``<MORE_DETAILED_CAPTION>`` with at most 1024 new tokens. transformers' own
network is used, no code of the model's folder (``models/florence2/checkpoint.py``). Precision: float16 on a GPU, the
type of the published weights, float32 elsewhere.

transformers, which takes seconds to import, is loaded with the model only: fingerprints do not need it.

Source: Florence-2 (arXiv 2311.06242).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from inspatio.captioning.captions import Caption, judge
from inspatio.errors import UsageError, UserError
from inspatio.models.memory import is_out_of_memory, release_memory
from inspatio.models.weights import weights_fingerprint, weights_path
from inspatio.types import Image

if TYPE_CHECKING:
    from transformers import Florence2ForConditionalGeneration, GenerationConfig

    from inspatio.models.florence2.checkpoint import FlorenceFolder

_log = logging.getLogger(__name__)

VERSION = 1
"""Raised whenever the same weights would give other captions."""

INSTRUCTION = "Describe with a paragraph what is shown in the image."
"""The task ``<MORE_DETAILED_CAPTION>`` in the words that the network reads."""

NO_REPEAT_NGRAM = 3
"""The published decoder never repeats a sequence of this many tokens."""

MAX_NEW_TOKENS = 1024


def describe(folder: Path, max_new_tokens: int = MAX_NEW_TOKENS) -> dict[str, Any]:
    """What the captions of a model folder depend on (JSON values); loads neither the model nor transformers.

    Device, precision and batch size are left out: they only change rounding, and a run that is continued elsewhere
    keeps its captions.

    Raises:
        MissingWeightsError: the folder has no weights.
    """
    return {
        "name": "florence2",
        "version": VERSION,
        "weights": weights_fingerprint(weights_path(folder)),
        "instruction": INSTRUCTION,
        "max_new_tokens": max_new_tokens,
    }


class Florence2Captioner:
    """Florence-2, loaded and ready.

    ``caption`` gives the same answers whatever the batch size is, up to the rounding of the device's arithmetic.
    """

    def __init__(
        self,
        model: Florence2ForConditionalGeneration,
        folder: FlorenceFolder,
        *,
        batch_size: int = 4,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        """``model`` is the network of ``folder``, on any device; :meth:`load` makes both.

        Raises:
            UsageError: a size is not positive, or the network has fewer positions than ``max_new_tokens``.
        """
        positions = folder.text.max_position_embeddings
        if batch_size < 1 or not 1 <= max_new_tokens <= positions:
            raise UsageError(
                f"caption batch size and token limit are {batch_size} and {max_new_tokens}, expected at least 1, "
                f"and at most {positions} tokens for this Florence-2"
            )
        self.model = model
        self.folder = folder
        self._batch_size = batch_size
        self._prompt = self._make_prompt()
        self._generation = self._make_generation(max_new_tokens)
        # generate() takes settings that are not given from here; the folder's own may be meant for another task.
        model.generation_config = self._generation

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        batch_size: int = 4,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> Florence2Captioner:
        """Load a folder of either published layout (``models/florence2/checkpoint.py``).

        Raises:
            MissingWeightsError: the folder is missing, damaged or not Florence-2.
            UsageError: a size is out of range.
        """
        from inspatio.models.florence2.checkpoint import FlorenceFolder  # here, since it loads transformers

        device = torch.device(device)
        dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
        files = FlorenceFolder.read(folder)
        return cls(files.load_model(device, dtype), files, batch_size=batch_size, max_new_tokens=max_new_tokens)

    def caption(self, images: Sequence[Image]) -> list[Caption]:
        """Caption ``h w c`` uint8 RGB images; when memory runs out, the batch size is halved and captioning continues.

        Raises:
            UserError: memory is too small for one image.
        """
        captions: list[Caption] = []
        while len(captions) < len(images):
            batch = images[len(captions) :][: self._batch_size]
            answers = self._caption_batch(batch)
            if answers is None:
                self._halve(len(batch))
            else:
                captions += answers
        return captions

    def encode(self, images: Sequence[Image]) -> dict[str, torch.Tensor]:
        """The network's inputs for one batch: ``pixel_values`` ``b c h w``, ``input_ids`` and its mask ``b n``."""
        prompt = torch.tensor([self._prompt] * len(images), device=self.model.device)
        pixels = self.folder.image_format.prepare(images).to(self.model.device, self.model.dtype)
        return {"pixel_values": pixels, "input_ids": prompt, "attention_mask": torch.ones_like(prompt)}

    @torch.inference_mode()
    def _caption_batch(self, images: Sequence[Image]) -> list[Caption] | None:
        """One batch through the network; None when memory runs out."""
        generate = self.model.generate  # pyright: ignore[reportAttributeAccessIssue] - its stub asks for other models
        try:
            answers = generate(**self.encode(images))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return [self.read_answer(answer) for answer in answers.tolist()]

    def _halve(self, tried: int) -> None:
        """Halve the batch size after ``tried`` images ran out of memory."""
        device = self.model.device
        release_memory(device)
        if tried == 1:
            raise UserError(
                f"out of memory with one image for Florence-2, the smallest batch. Free memory on {device}, use a "
                "smaller model (--florence_model_path), or write captions yourself (--caption, <clip>.txt)."
            )
        self._batch_size = tried // 2
        _log.warning("Florence-2: out of memory with %d images at a time; continuing with %d", tried, self._batch_size)

    def read_answer(self, tokens: list[int]) -> Caption:
        """Decode one row of the decoder's output: start token, answer, end token unless it was cut, padding."""
        answer, end = tokens[1:], self._generation.eos_token_id
        cut = end not in answer
        if not cut:
            answer = answer[: answer.index(end)]
        frame = (self._generation.bos_token_id, self._generation.pad_token_id)
        words = [token for token in answer if token not in frame]
        return judge(self.folder.tokenizer.decode(words, skip_special_tokens=False), cut=cut)

    def _make_prompt(self) -> list[int]:
        """The encoder's input tokens: a placeholder per image feature, then the instruction as a sentence."""
        instruction = self.folder.tokenizer.encode(INSTRUCTION, add_special_tokens=False).ids
        image = [self.folder.image_token] * self.folder.image_tokens
        return [*image, self.folder.token("<s>"), *instruction, self.folder.token("</s>")]

    def _make_generation(self, max_new_tokens: int) -> GenerationConfig:
        """Greedy decoding as published, whatever settings the model's folder has."""
        from transformers import GenerationConfig

        text = self.folder.text
        # Rows of the token embedding without a token are untrained and must never be generated.
        unused = range(self.folder.tokenizer.get_vocab_size(), text.vocab_size)
        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            no_repeat_ngram_size=NO_REPEAT_NGRAM,
            suppress_tokens=[self.folder.image_token, *unused],
            forced_bos_token_id=text.bos_token_id,
            decoder_start_token_id=text.decoder_start_token_id,
            bos_token_id=text.bos_token_id,
            eos_token_id=text.eos_token_id,
            pad_token_id=text.pad_token_id,
        )
