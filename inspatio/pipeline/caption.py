"""Stage 1: a prompt for every clip.

The first of these that is there: the text of --caption, a text file beside the clip, the public clip list's text, the
captioner's answer to one frame (the middle one). Without a captioner (backend ``sidecar``) the prompt may be empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from inspatio import factory
from inspatio.captioning.captions import FLAG_MEANINGS, Caption, Captioner
from inspatio.captioning.sidecar import read_sidecar
from inspatio.errors import ClipError
from inspatio.media import VideoInfo, VideoReader
from inspatio.pipeline.licenses import weights_in_use
from inspatio.pipeline.log import say
from inspatio.pipeline.manifest import CaptionBlock, fingerprint
from inspatio.pipeline.stage import Block, Report, Stage
from inspatio.pipeline.workspace import ClipState, Workspace
from inspatio.types import Image

VERSION = 1


class CaptionStage(Stage):
    """See the module; the captioner loads when the first clip without a text of its own comes."""

    name = "caption"
    in_work = True

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
            "frame": self._config.frame,
            "captioner": self._description,
        }

    def block(self, state: ClipState) -> CaptionBlock | None:
        return state.caption

    def process(self, states: Sequence[ClipState], report: Report) -> list[Block | ClipError]:
        results: dict[str, Block | ClipError] = {}
        images = {}
        for state in states:
            try:
                given = self._given(state)
                if given is not None:
                    results[state.id] = self._block(state, Caption(given[0]), given[1])
                else:
                    images[state.id] = _frame(self.workspace.info(state), self._config.frame)
            except ClipError as error:
                results[state.id] = error
        if images:
            captions = self._load().caption(list(images.values()))
            for state, caption in zip([s for s in states if s.id in images], captions, strict=True):
                results[state.id] = self._block(state, caption, self._config.backend)
        return [results[state.id] for state in states]

    def _given(self, state: ClipState) -> tuple[str, str] | None:
        """The prompt that a person gave for this clip, and where; an empty one where nobody describes the clips."""
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

    def _block(self, state: ClipState, caption: Caption, origin: str) -> CaptionBlock:
        if caption.flags:
            faults = ", ".join(FLAG_MEANINGS[flag] for flag in caption.flags)
            say(f" caption: {state.id}: {faults}; write {state.path.stem}.txt beside the clip, or give --caption")
        return CaptionBlock(
            fingerprint=fingerprint(self.inputs(state)),
            text=caption.text,
            origin=origin,
            flags=list(caption.flags),
            weights=weights_in_use(self.job.profile, self.name) if origin == self._config.backend else {},
        )


def _frame(video: VideoInfo, which: str) -> Image:
    index = video.frame_count // 2 if which == "middle" else int(which)
    if index >= video.frame_count:
        raise ClipError(
            f"{video.path}: no frame {index} to describe, the clip has {video.frame_count}; see --caption_frame"
        )
    with VideoReader(video) as reader:
        return reader.read([index])[0]
