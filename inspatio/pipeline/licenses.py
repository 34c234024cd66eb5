"""Which weights a profile uses and under what terms: for `inspatio licenses`, and for the manifest of what was made.

A Depth Anything 3 folder says by its config.json which model it is, and the terms follow from that. The others are
published under one licence each.
"""

from __future__ import annotations

from inspatio.config import Profile
from inspatio.errors import UserError
from inspatio.models.checkpoints import Need, needs

TERMS = {
    "Florence-2": "MIT",
    "InSpatio-World": "see its page (its code is Apache-2.0)",
    "Wan 2.1 text encoder and VAE": "Apache-2.0",
    "TAEHV": "MIT",
}


def weights_in_use(profile: Profile, stage: str) -> dict[str, str]:
    """What a stage reads of a profile's weights: path -> terms."""
    return {str(need.path): terms(need) for need in needs(profile) if need.stage == stage}


def terms(need: Need) -> str:
    """The licence of one set of weights, as far as it can be told."""
    if need.what in TERMS:
        return TERMS[need.what]
    if need.missing:
        return "CC BY-NC 4.0 (not commercial) for nested, giant and large; Apache-2.0 for base, small, metric and mono"
    from inspatio.models.depth_anything3.checkpoint import open_folder  # here, since it loads PyTorch

    try:
        model = open_folder(need.path).model
    except UserError as error:
        return f"cannot be told: {error}"
    return f"{model.license.name}{'' if model.license.commercial else ' (not commercial)'}: {model.name}"


def print_licenses(profiles: list[Profile]) -> int:
    """The report of `inspatio licenses`."""
    for profile in profiles:
        lines = [f"profile {profile.name}"]
        for need in needs(profile):
            there = "not there yet" if need.missing else "in place"
            lines.append(f"  {need.stage:>8}: {need.what} at {need.path} ({there}): {terms(need)}")
        if len(lines) == 1:
            lines.append("  no weights, nothing but this program (Apache-2.0)")
        print("\n".join(lines))
    return 0
