"""Which published Depth Anything 3 model is which network, and under what terms its weights may be used.

A model folder holds ``config.json`` with a ``model_name`` and ``model.safetensors``. Three kinds:

    any-view   depth, confidence and cameras of all frames together, in a scale of its own
    metric     depth of one frame, in metres once the focal length is known; a sky map
    mono       depth of one frame, in a scale of its own; a sky map
    nested     an any-view and a metric network in one file

Models called ``tiny`` have the same layers in the smallest sizes that make sense, for tests with random weights.

Source: Depth Anything 3 (arXiv 2511.10647) and its published model cards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from inspatio.models.depth_anything3.heads import HeadConfig
from inspatio.models.depth_anything3.vit import BackboneConfig

SingleKind: TypeAlias = Literal["any-view", "metric", "mono"]


@dataclass(frozen=True)
class NetworkConfig:
    """One network: a backbone and a head, and a camera decoder if it is an any-view one."""

    kind: SingleKind
    backbone: BackboneConfig
    head: HeadConfig


@dataclass(frozen=True)
class License:
    """Terms of a set of weights."""

    name: str
    url: str
    commercial: bool


@dataclass(frozen=True)
class Model:
    """A published model: one network, or an any-view and a metric one together."""

    name: str
    networks: tuple[NetworkConfig, ...]
    license: License

    @property
    def kind(self) -> SingleKind | Literal["nested"]:
        return "nested" if len(self.networks) == 2 else self.networks[0].kind


APACHE = License("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", commercial=True)
NON_COMMERCIAL = License("CC BY-NC 4.0", "https://creativecommons.org/licenses/by-nc/4.0/", commercial=False)


def _any_view(
    dim: int, depth: int, heads: int, out_layers: tuple[int, int, int, int], alternate_from: int, head: HeadConfig
) -> NetworkConfig:
    gated = dim == 1536
    return NetworkConfig("any-view", BackboneConfig(dim, depth, heads, out_layers, alternate_from, gated), head)


def _single_frame(kind: Literal["metric", "mono"]) -> NetworkConfig:
    head = HeadConfig(256, (256, 512, 1024, 1024), confidence=False)
    return NetworkConfig(kind, BackboneConfig(1024, 24, 16, (4, 11, 17, 23)), head)


_LARGE_HEAD = HeadConfig(256, (256, 512, 1024, 1024), confidence=True)
_SMALL = _any_view(384, 12, 6, (5, 7, 9, 11), 4, HeadConfig(64, (48, 96, 192, 384), confidence=True))
_BASE = _any_view(768, 12, 12, (5, 7, 9, 11), 4, HeadConfig(128, (96, 192, 384, 768), confidence=True))
_LARGE = _any_view(1024, 24, 16, (11, 15, 19, 23), 8, _LARGE_HEAD)
_GIANT = _any_view(1536, 40, 24, (19, 27, 33, 39), 13, _LARGE_HEAD)
_TINY = _any_view(64, 6, 2, (2, 3, 4, 5), 2, HeadConfig(16, (8, 8, 16, 16), confidence=True))
_TINY_METRIC = NetworkConfig(
    "metric", BackboneConfig(64, 4, 2, (0, 1, 2, 3)), HeadConfig(16, (8, 8, 16, 16), confidence=False)
)

MODELS = {
    model.name: model
    for model in (
        Model("da3nested-giant-large", (_GIANT, _single_frame("metric")), NON_COMMERCIAL),
        Model("da3-giant", (_GIANT,), NON_COMMERCIAL),
        Model("da3-large", (_LARGE,), NON_COMMERCIAL),
        Model("da3-base", (_BASE,), APACHE),
        Model("da3-small", (_SMALL,), APACHE),
        Model("da3metric-large", (_single_frame("metric"),), APACHE),
        Model("da3mono-large", (_single_frame("mono"),), APACHE),
        Model("da3nested-tiny", (_TINY, _TINY_METRIC), APACHE),
        Model("da3-tiny", (_TINY,), APACHE),
        Model("da3metric-tiny", (_TINY_METRIC,), APACHE),
    )
}
"""By the ``model_name`` of config.json."""
