"""The options of the commands that work on clips about where they work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inspatio.errors import UsageError
from inspatio.settings import Settings, setting

EngineName = Literal["local", "ray"]


@dataclass(frozen=True, kw_only=True)
class EngineOptions(Settings):
    """Where the clips are processed."""

    engine: EngineName = setting(
        "local", "on this machine, or on a Ray cluster whose machines share the folders", option="--engine"
    )
    ray_address: str | None = setting(
        None,
        'Ray cluster to connect to, "auto" for the one that this machine belongs to',
        option="--ray_address",
        metavar="ADDRESS",
        unset="one of this machine alone, for the time of the run",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ray_address is not None and self.engine != "ray":
            raise UsageError(f"--ray_address {self.ray_address}: got no --engine ray, expected both together")
