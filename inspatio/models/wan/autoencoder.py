"""Protocol of the video autoencoders: a streaming encoder and a streaming decoder.

Both work in groups. A state object holds what a causal network must remember of the past, so that

    state = encoder.start()
    latents = torch.cat([encoder.encode(group, state) for group in groups], dim=1)

equals encoding the whole clip at once, however it was cut, and memory does not grow with the clip. Video time
is causal and four times longer than latent time: the very first frame is a latent of its own, then four frames
make one. So the first group has ``1 + 4 k`` frames and every later one ``4 k``, and ``n`` latents are
``1 + 4 (n - 1)`` frames. Latents are normalised (zero mean, unit variance per channel), as the generator reads
and writes them. A model computes on its own device in its own dtype; groups are moved there by the caller.

Implemented by ``vae.py`` and ``taehv.py``, which can be mixed, since they share one latent space, and by ``linear.py``,
which has one of its own.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from inspatio.types import LatentTensor, VideoTensor

LATENT_CHANNELS = 16
SPATIAL_FACTOR = 8
"""Pixels of a side that make one latent column or row."""
TEMPORAL_FACTOR = 4
"""Frames that make one latent frame, but for the first frame, which is one alone."""


class AutoencoderState(Protocol):
    """What an encoder or a decoder remembers of one clip."""

    @property
    def bytes(self) -> int:
        """Memory held, in bytes; does not grow with the clip."""
        ...


State = TypeVar("State", bound=AutoencoderState)


def frames_of(latents: int, *, first: bool) -> int:
    """Frames that a group of latents stands for: four each, but one for the latent that begins a clip."""
    return TEMPORAL_FACTOR * latents - (TEMPORAL_FACTOR - 1 if first else 0)


class VideoEncoder(Protocol[State]):
    """Video in, normalised latents out."""

    @property
    def lookahead(self) -> int:
        """How many frames after a group its last latent also sees; 0 for a strictly causal encoder."""
        ...

    @property
    def reach(self) -> int:
        """How many frames back what the encoder remembers depends on, at most."""
        ...

    def start(self) -> State:
        """A fresh state: nothing has been encoded yet."""
        ...

    def encode(self, video: VideoTensor, state: State, ahead: VideoTensor | None = None) -> LatentTensor:
        """The next group of a clip, and the state moves on.

        Args:
            video: ``b c t h w`` RGB in -1..1; ``t`` is ``1 + 4 k`` for the first group of a state, ``4 k`` after;
                ``h`` and ``w`` are multiples of 8.
            state: what ``start`` gave; changed in place.
            ahead: the frames that follow the group, where they are known already: ``lookahead`` of them, fewer only
                before the clip's end. They come again at the beginning of the next group. Without them the group's last
                frame stands in, and its last latent may differ a little from the whole clip's; all others do not.

        Returns:
            ``b f c h/8 w/8`` normalised latents: ``1 + k`` for the first group, ``k`` after, in the video's dtype.
        """
        ...


class VideoDecoder(Protocol[State]):
    """Normalised latents in, video out."""

    def start(self) -> State:
        """A fresh state: nothing has been decoded yet."""
        ...

    def decode(self, latents: LatentTensor, state: State) -> VideoTensor:
        """The next group of a clip, and the state moves on.

        Args:
            latents: ``b f c h w`` normalised latents.
            state: what ``start`` gave; changed in place.

        Returns:
            ``b c t 8h 8w`` RGB clamped to -1..1: ``1 + 4 (f - 1)`` frames for the first group, ``4 f`` after, in
            the latents' dtype.
        """
        ...
