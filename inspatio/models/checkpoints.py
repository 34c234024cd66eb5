"""The table of published checkpoints: what each is, where it comes from, its files, and its licence.

Everything that names weights follows from :data:`CHECKPOINTS`: downloads, what a profile needs, `inspatio doctor` and
`inspatio licenses`, hints in error messages, and (by scripts/make_docs.py) the table in ``checkpoints/README.md``.
A new checkpoint is one row.

Only the standard library is imported, because the downloader runs before anything is installed. Nothing is loaded here.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from inspatio.errors import MissingWeightsError
from inspatio.locations import download_command, in_home, shown, tiny_checkpoints_command

if TYPE_CHECKING:
    from inspatio.config import Profile

Family: TypeAlias = Literal["florence", "da3", "inspatio-world", "wan", "taehv", "linear", "worldfm", "completion"]
"""Checkpoints that can stand for each other, as far as the code that loads them is concerned."""

WAN_TEXT_ENCODER = "models_t5_umt5-xxl-enc-bf16.pth"
WAN_VAE = "Wan2.1_VAE.pth"
WAN_TOKENIZER = "google/umt5-xxl"
TAEHV = "taew2_1.pth"
CONFIG = "config.json"
SAFETENSORS = "model.safetensors"
IMAGE_VAE = "diffusion_pytorch_model.safetensors"

TINY_PROFILES = ("tiny", "worldfm_tiny")
"""Profiles of random weights, which scripts/make_tiny_checkpoints.py writes."""


@dataclass(frozen=True)
class License:
    """The terms of a set of weights; ``commercial`` is None where nobody says."""

    name: str
    url: str
    commercial: bool | None

    def __str__(self) -> str:
        return f"{self.name} (not commercial)" if self.commercial is False else self.name


@dataclass(frozen=True)
class WeightFile:
    """A published file, or a pattern for several; size in bytes and SHA-256 where public copies agree on them."""

    name: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """One set of published weights."""

    name: str
    """The folder below ``checkpoints/``, and the name to download it by."""
    family: Family
    use: str
    parameters: str
    license: License
    files: tuple[WeightFile, ...]
    repository: str | None = None
    """On the Hugging Face hub."""
    url: str | None = None
    """The address that file names are appended to, for weights that are not on the hub."""
    model_name: str | None = None
    """Depth Anything 3: the ``model_name`` of config.json, the key in ``depth_anything3.checkpoint``."""
    width: int | None = None
    """InSpatio-World: the transformer's width, by which ``wan.dit`` knows the published network."""
    profiles: tuple[str, ...] = ()
    """The profiles of ``configs/`` that read it; a test holds this against what they need."""
    note: str = ""

    @property
    def source(self) -> str | None:
        """The page or address that it comes from; None where no public source is known."""
        return f"https://huggingface.co/{self.repository}" if self.repository else self.url


MIT = License("MIT", "https://opensource.org/license/mit", commercial=True)
APACHE = License("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", commercial=True)
NON_COMMERCIAL = License("CC BY-NC 4.0", "https://creativecommons.org/licenses/by-nc/4.0/", commercial=False)

_NETWORKS = ("inference_1.3b", "inference_1.5", "inference_14b")
_FRAME_MODELS = ("worldfm", "worldfm_1step")


_NEWER = "newer weights for the network of the same name; nobody here has seen its config.json"


def _depth_anything(
    name: str,
    repository: str,
    parameters: str,
    license: License,
    use: str,
    *,
    profiles: tuple[str, ...] = (),
    note: str = "",
) -> Checkpoint:
    return Checkpoint(
        name,
        family="da3",
        use=use,
        parameters=parameters,
        license=license,
        files=(WeightFile(CONFIG), WeightFile(SAFETENSORS)),
        repository=f"depth-anything/{repository}",
        model_name=repository.lower().removesuffix("-1.1"),
        profiles=profiles,
        note=note,
    )


CHECKPOINTS: dict[str, Checkpoint] = {
    row.name: row
    for row in (
        Checkpoint(
            "InSpatio-World-1.3B",
            family="inspatio-world",
            use="generator, 1.3B (v1.0)",
            parameters="1.42 G",
            license=License(
                "see its page (its code is Apache-2.0)", "https://huggingface.co/inspatio/world", commercial=None
            ),
            files=(WeightFile("InSpatio-World-1.3B.safetensors"),),
            repository="inspatio/world",
            width=1536,
            profiles=("inference_1.3b",),
            note="its authors say that the code's Apache-2.0 covers the code only",
        ),
        Checkpoint(
            "InSpatio-World-1.5",
            family="inspatio-world",
            use="generator, 1.3B (v1.5)",
            parameters="1.42 G",
            license=License(
                "none stated for the weights (its code is Apache-2.0)",
                "https://huggingface.co/inspatio/world-1.5",
                commercial=None,
            ),
            files=(WeightFile("InSpatio-World-1.5-1.3B.safetensors"),),
            repository="inspatio/world-1.5",
            width=1536,
            profiles=("inference_1.5",),
            note="float32; the network and the schedule are those of v1.0; size and checksum are not known here",
        ),
        Checkpoint(
            "InSpatio-World-14B",
            family="inspatio-world",
            use="generator, 14B",
            parameters="not known",
            license=License("cannot be told: not published", "https://huggingface.co/inspatio", commercial=None),
            files=(WeightFile("InSpatio-World-14B.safetensors"),),
            width=5120,
            profiles=("inference_14b",),
            note="no public source is known; put it into checkpoints/InSpatio-World-14B/ with its config.json, or name "
            "it with --checkpoint_path",
        ),
        Checkpoint(
            "Wan2.1-T2V-1.3B",
            family="wan",
            use="text encoder, tokenizer, video autoencoder",
            parameters="5.68 G + 0.127 G",
            license=APACHE,
            files=(
                WeightFile(CONFIG),
                WeightFile(
                    WAN_TEXT_ENCODER,
                    11_361_920_418,
                    "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d",
                ),
                WeightFile(WAN_VAE, 507_609_880, "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981"),
                WeightFile(f"{WAN_TOKENIZER}/*"),
            ),
            repository="Wan-AI/Wan2.1-T2V-1.3B",
            profiles=_NETWORKS,
            note="without its base transformer (diffusion_pytorch_model.safetensors, 5.7 GB), which nothing here reads",
        ),
        Checkpoint(
            "taehv",
            family="taehv",
            use="small video autoencoder, for --use_tae",
            parameters="0.011 G",
            license=MIT,
            files=(WeightFile(TAEHV),),
            url="https://raw.githubusercontent.com/madebyollin/taehv/main/",
            profiles=_NETWORKS,
        ),
        _depth_anything(
            "DA3",
            "DA3NESTED-GIANT-LARGE",
            "1.69 G",
            NON_COMMERCIAL,
            "geometry in metres: giant and metric in one",
            profiles=(*_NETWORKS, *_FRAME_MODELS),
        ),
        _depth_anything(
            "DA3-1.1", "DA3NESTED-GIANT-LARGE-1.1", "1.69 G", NON_COMMERCIAL, "geometry in metres", note=_NEWER
        ),
        _depth_anything("DA3-GIANT", "DA3-GIANT", "1.36 G", NON_COMMERCIAL, "geometry"),
        _depth_anything("DA3-GIANT-1.1", "DA3-GIANT-1.1", "1.36 G", NON_COMMERCIAL, "geometry", note=_NEWER),
        _depth_anything("DA3-LARGE", "DA3-LARGE", "0.4 G", NON_COMMERCIAL, "geometry"),
        _depth_anything("DA3-LARGE-1.1", "DA3-LARGE-1.1", "0.4 G", NON_COMMERCIAL, "geometry", note=_NEWER),
        _depth_anything(
            "DA3-BASE", "DA3-BASE", "0.14 G", APACHE, "geometry, in metres together with `DA3METRIC-LARGE`"
        ),
        _depth_anything("DA3-SMALL", "DA3-SMALL", "0.03 G", APACHE, "geometry"),
        _depth_anything(
            "DA3METRIC-LARGE", "DA3METRIC-LARGE", "0.33 G", APACHE, "metres for `DA3-BASE` (--da3_metric_path)"
        ),
        _depth_anything("DA3MONO-LARGE", "DA3MONO-LARGE", "0.33 G", APACHE, "depth of single frames, without cameras"),
        Checkpoint(
            "WorldFM",
            family="worldfm",
            use="frame model (one and two steps) and its image autoencoder",
            parameters="0.61 G each, of which 0.46 G work, + 0.084 G",
            license=License("none stated for the weights", "https://huggingface.co/inspatio/worldfm", commercial=None),
            files=(
                WeightFile("worldfm_1-step.pth"),
                WeightFile("worldfm_2-step.pth"),
                WeightFile(f"vae/{CONFIG}"),
                WeightFile(f"vae/{IMAGE_VAE}"),
            ),
            repository="inspatio/worldfm",
            profiles=_FRAME_MODELS,
            note="its code is Apache-2.0, which covers the code only; nobody here has seen the files",
        ),
        Checkpoint(
            "Florence-2-large",
            family="florence",
            use="captions, as converted for transformers",
            parameters="see its page",
            license=MIT,
            files=(WeightFile("*.json"), WeightFile("*.txt"), WeightFile(SAFETENSORS)),
            repository="florence-community/Florence-2-large",
            profiles=_NETWORKS,
            note="the licence is that of microsoft/Florence-2-large, whose original folder works as well",
        ),
    )
}
"""By name. Sizes and checksums that are not here are taken from the hub when it is asked."""


def checkpoint_of(path: Path) -> Checkpoint | None:
    """The row whose folder a path lies in, told by the folder's name; None for weights of other names."""
    return next((CHECKPOINTS[part] for part in reversed(path.absolute().parts) if part in CHECKPOINTS), None)


def how_to_get(path: Path | str) -> str:
    """The last sentence of an error about weights: the command that downloads ``path`` (or the row of that name)."""
    row = CHECKPOINTS[path] if isinstance(path, str) else checkpoint_of(path)
    if row is None:
        return f"Check the path; `{download_command('--help')}` lists what can be downloaded."
    if row.source is None:
        return f"{row.name}: {row.note}."
    return f"Get it with: {download_command(row.name)}"


@dataclass(frozen=True)
class Need:
    """Files that a stage reads: ``path``, or ``path / name`` for one name of each group of ``names``."""

    stage: str
    what: str
    family: Family
    path: Path
    names: tuple[tuple[str, ...], ...] = ()

    @property
    def missing(self) -> list[Path]:
        """The files that are not there (the first name of a group stands for it)."""
        if not self.names:
            return [] if self.path.is_file() else [self.path]
        groups = [[self.path / name for name in group] for group in self.names]
        return [group[0] for group in groups if not any(path.exists() for path in group)]

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The row of the table that these files are, told by their folder's name; None for others of the family."""
        row = checkpoint_of(self.path)
        return row if row is not None and row.family == self.family else None

    @property
    def license(self) -> str:
        """The terms, as far as they can be told: by the folder's name or its config.json, else the whole family's."""
        if self.family == "da3":
            return license_of_depth_anything(self.path)
        family = [row for row in CHECKPOINTS.values() if row.family == self.family]
        terms = {str(row.license) for row in ([self.checkpoint] if self.checkpoint else family)}
        return terms.pop() if len(terms) == 1 else "cannot be told: not a published folder's name"


def license_of_depth_anything(folder: Path) -> str:
    """The terms of a Depth Anything 3 folder: by its config.json, since any of the models may lie in one called DA3."""
    try:
        name = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_name"]
    except FileNotFoundError:
        row = checkpoint_of(folder)
        return str(row.license) if row else "cannot be told: the model is not there"
    except (OSError, ValueError, KeyError, TypeError):
        return f"cannot be told: {shown(folder / CONFIG)} names no model"
    terms = depth_anything_license(name)
    return f"{terms}: {name}" if terms else f"cannot be told: {name} is not a published model"


def depth_anything_license(model_name: str) -> License | None:
    """The terms of a Depth Anything 3 model by its ``model_name``; None for a name that was never published."""
    if model_name.endswith("-tiny"):
        return APACHE  # random weights by scripts/make_tiny_checkpoints.py
    return next((row.license for row in CHECKPOINTS.values() if row.model_name == model_name), None)


def needs(profile: Profile) -> list[Need]:
    """Every file that running a profile reads, in the order of the stages."""
    found = []
    if profile.caption.backend == "florence":
        names = ((CONFIG,), (SAFETENSORS, "pytorch_model.bin"))
        found.append(Need("caption", "Florence-2", "florence", Path(profile.caption.model_path), names))
    if profile.geometry.backend == "da3":
        names = ((CONFIG,), (SAFETENSORS,))
        found.append(Need("geometry", "Depth Anything 3", "da3", Path(profile.geometry.model_path), names))
        if profile.geometry.metric_path:
            path = Path(profile.geometry.metric_path)
            found.append(Need("geometry", "Depth Anything 3 metric", "da3", path, names))
    generator = profile.generator
    if generator.backend == "causal":
        found.append(Need("generate", "InSpatio-World", "inspatio-world", Path(generator.checkpoint_path)))
        names = [(WAN_TEXT_ENCODER,), (WAN_TOKENIZER,)]
        if "wan" in (generator.encoder, generator.decoder):
            names.append((WAN_VAE,))
        found.append(Need("generate", "Wan 2.1 text encoder and VAE", "wan", Path(generator.wan_path), tuple(names)))
        if "taehv" in (generator.encoder, generator.decoder):
            found.append(Need("generate", "TAEHV", "taehv", Path(generator.tae_checkpoint_path)))
        if "linear" in (generator.encoder, generator.decoder):
            found.append(Need("generate", "linear autoencoder", "linear", Path(generator.linear_path)))
    if generator.backend == "preview" and generator.completion_path:
        found.append(Need("generate", "completion network", "completion", Path(generator.completion_path)))
    if generator.backend == "worldfm":
        found.append(Need("generate", "WorldFM", "worldfm", Path(generator.checkpoint_path)))
        vae = Path(generator.image_vae_path)
        names = ((f"{vae.name}/{CONFIG}",), (f"{vae.name}/{IMAGE_VAE}",))
        found.append(Need("generate", "WorldFM image autoencoder", "worldfm", vae.parent, names))
    return found


def weights_in_use(profile: Profile, stage: str) -> dict[str, str]:
    """What a stage reads of a profile's weights, for the manifest: path -> terms."""
    return {shown(need.path): need.license for need in needs(profile) if need.stage == stage}


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
            f"  to get them:     {advice(profile)}\n"
            "  to go without:   --profile preview in place of this profile or config (no network, no download)"
        )


def advice(profile: Profile) -> str:
    """How to get the weights that a profile lacks: a command, as far as it puts them where the profile looks for them.

    A config of one's own may look elsewhere, or for weights that are not published.
    """
    if profile.name in TINY_PROFILES:
        return tiny_checkpoints_command()
    missing = [need for need in needs(profile) if need.missing]
    names, others = [], []
    for need in missing:
        row = need.checkpoint
        if row and row.source and need.path.is_relative_to(in_home("checkpoints") / row.name):
            names.append(row.name)
        else:
            others += map(str, need.missing)
    if not others and any(profile.name in row.profiles for row in CHECKPOINTS.values()):
        return download_command("--profile", profile.name)
    steps = [download_command(*names)] if names else []
    steps += [f"put your own at {', '.join(others)}, or correct the paths in the config"] if others else []
    return "; ".join(steps)
