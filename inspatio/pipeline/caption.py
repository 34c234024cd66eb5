"""Stage 1: a prompt for every clip.

The prompt is the first of these that exists: the text of --caption, a text file beside the clip, the text in the
public clip list, the captioner's answer to one frame (by default the middle one). Without a captioner (backend
``sidecar``) the prompt may be empty.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from inspatio import factory
from inspatio.captioning.captions import FLAG_MEANINGS, Caption, Captioner, read_sidecar
from inspatio.clip_options import FrameChoice
from inspatio.errors import ClipError
from inspatio.media import SourceInfo, open_source
from inspatio.models.checkpoints import weights_in_use
from inspatio.pipeline.records import CaptionResult, StageResult
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workspace import ClipState, Workspace
from inspatio.types import Image, Progress

_log = logging.getLogger(__name__)

VERSION = 1


class CaptionStage(Stage):
    """Find or make the prompt of every clip; the captioner loads when the first clip needs it."""

    name = "caption"

    def __init__(self, workspace: Workspace):
        super().__init__(workspace)
        self._config = workspace.job.profile.caption
        self.batch_size = self._config.batch_size
        self._captioner: Captioner | None = None

    def inputs(self, state: ClipState) -> dict[str, Any]:
        try:
            given = self._given(state)
        except ClipError as error:
            return {"version": VERSION, "fault": str(error)}
        if given is not None:
            return {"version": VERSION, "given": list(given)}
        return {
            "version": VERSION,
            "source": state.source.fingerprint,
            "frame": str(self._config.frame),
            "captioner": self._description,
        }

    def units(self, state: ClipState) -> int:
        return 1

    def expected(self, state: ClipState) -> CaptionResult | None:
        given = self._given(state)
        return None if given is None else CaptionResult(**self.made_from(state), text=given[0], origin=given[1])

    def result(self, state: ClipState) -> CaptionResult | None:
        return state.caption

    def process(self, states: Sequence[ClipState], progress: Progress) -> list[StageResult | ClipError]:
        results: dict[str, StageResult | ClipError] = {}
        images = {}
        made_from = {}
        for state in states:
            made_from[state.id] = self.made_from(state)
            try:
                given = self._given(state)
                if given is not None:
                    results[state.id] = self._result(state, Caption(given[0]), given[1], made_from[state.id])
                else:
                    images[state.id] = _frame(self.workspace.info(state), self._config.frame)
                    self.workspace.check_source(state)
            except ClipError as error:
                results[state.id] = error
            progress(len(results), len(states))
        if images:
            captions = self._load().caption(list(images.values()))
            for state, caption in zip([s for s in states if s.id in images], captions, strict=True):
                results[state.id] = self._result(state, caption, self._config.backend, made_from[state.id])
            progress(len(results), len(states))
        return [results[state.id] for state in states]

    def _given(self, state: ClipState) -> tuple[str, str] | None:
        """The prompt that the user gave and where it is from; an empty prompt where there is no captioner."""
        if self.job.caption is not None:
            return self.job.caption, "--caption"
        if (sidecar := read_sidecar(state.path)) is not None:
            return sidecar.text, "sidecar"
        if state.public and state.public.text:
            return state.public.text, "new.json"
        return ("", "none") if self._config.backend == "sidecar" else None

    @cached_property
    def _description(self) -> dict[str, Any]:
        return factory.describe_captioner(self._config)

    def _load(self) -> Captioner:
        if self._captioner is None:
            self._captioner = factory.make_captioner(self._config, self.job.device(self.name))
        return self._captioner

    def _result(self, state: ClipState, caption: Caption, origin: str, made_from: dict[str, Any]) -> CaptionResult:
        if caption.flags:
            meanings = ", ".join(FLAG_MEANINGS[flag] for flag in caption.flags)
            advice = f"Write {state.path.stem}.txt beside the clip, or give --caption."
            _log.warning("caption: %s: %s. %s", state.id, meanings, advice)
        return CaptionResult(
            **made_from,
            text=caption.text,
            origin=origin,
            flags=list(caption.flags),
            weights=weights_in_use(self.job.profile, self.name) if origin == self._config.backend else {},
        )


def _frame(video: SourceInfo, which: FrameChoice) -> Image:
    index = video.frame_count // 2 if which == "middle" else which
    if index >= video.frame_count:
        raise ClipError(
            f"{video.path}: no frame {index} to caption: the clip has {video.frame_count} frames. "
            "Choose another --caption_frame."
        )
    with open_source(video) as reader:
        return reader.read([index])[0]
