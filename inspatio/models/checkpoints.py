"""Which weights a profile needs, and which of them are not there; nothing is loaded.

Asked before a run begins, so that nobody waits for a stage to find out, and by `inspatio doctor`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from inspatio.config import Profile
from inspatio.errors import MissingWeightsError

DOWNLOAD = "bash scripts/download.sh"


@dataclass(frozen=True)
class Need:
    """Files that a stage reads: ``path``, or ``path / name`` for one name of each group of ``names``."""

    stage: str
    what: str
    path: Path
    names: tuple[tuple[str, ...], ...] = ()

    @property
    def missing(self) -> list[Path]:
        """The files that are looked for in vain (the first name of a group stands for it)."""
        if not self.names:
            return [] if self.path.is_file() else [self.path]
        groups = [[self.path / name for name in group] for group in self.names]
        return [group[0] for group in groups if not any(path.exists() for path in group)]


def needs(profile: Profile) -> list[Need]:
    """Every file that running a profile reads, in the order of the stages."""
    found = []
    if profile.caption.backend == "florence":
        weights = ("model.safetensors", "pytorch_model.bin")
        found.append(Need("caption", "Florence-2", Path(profile.caption.model_path), (("config.json",), weights)))
    if profile.geometry.backend == "da3":
        files = (("config.json",), ("model.safetensors",))
        found.append(Need("geometry", "Depth Anything 3", Path(profile.geometry.model_path), files))
        if profile.geometry.metric_path:
            found.append(Need("geometry", "Depth Anything 3 metric", Path(profile.geometry.metric_path), files))
    generator = profile.generator
    if generator.backend == "causal":
        found.append(Need("generate", "InSpatio-World", Path(generator.checkpoint_path)))
        names = [("models_t5_umt5-xxl-enc-bf16.pth",), ("google/umt5-xxl",)]
        if "wan" in (generator.encoder, generator.decoder):
            names.append(("Wan2.1_VAE.pth",))
        found.append(Need("generate", "Wan 2.1 text encoder and VAE", Path(generator.wan_path), tuple(names)))
        if "taehv" in (generator.encoder, generator.decoder):
            found.append(Need("generate", "TAEHV", Path(generator.tae_checkpoint_path)))
    return found


def require(profile: Profile, stages: Collection[str]) -> None:
    """Check that all weights of some stages are there.

    Raises:
        MissingWeightsError: three lines: what is missing, how to get it, how to preview without.
    """
    missing = [(need, path) for need in needs(profile) if need.stage in stages for path in need.missing]
    if missing:
        files = "; ".join(f"{need.what}: {path}" for need, path in missing)
        raise MissingWeightsError(
            f"profile {profile.name} needs weights that are not there: {files}\n"
            f"  to get them:     {DOWNLOAD} --profile {profile.name}   (says sizes and licences first)\n"
            "  to go without:   add --profile preview (no network, no download)"
        )
