"""The fields of ``cameras.json`` besides its matrices, checked by Pydantic; ``camera_file.py`` describes the format."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inspatio.types import ScaleKind

_MAX_SIDE = 65536
"""The largest image side in pixels; no video has a larger one."""


class DepthCoding(BaseModel):
    model_config = ConfigDict(strict=True)
    quantity: Literal["inverse_depth"]
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Header(BaseModel):
    """Every field but the matrices, which numpy checks. Fields that are not known are ignored."""

    model_config = ConfigDict(strict=True)
    convention: Literal["opencv, world_to_camera"]
    image_size: Annotated[list[Annotated[int, Field(gt=0, le=_MAX_SIDE)]], Field(min_length=2, max_length=2)]
    frame_count: Annotated[int, Field(gt=0, lt=2**31)]
    scale: ScaleKind
    frame_rate: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,17}/[1-9][0-9]{0,17}$")] | None = None
    timeline: list[Annotated[int, Field(ge=0, lt=2**31)]] | None = None
    backend: str = ""
    settings: dict[str, Any] = {}
    depth_coding: DepthCoding | None = None


def read_header(record: dict[str, Any]) -> Header:
    """Check a record's fields; ValueError names the first that is wrong, what was got and what was expected."""
    try:
        return Header.model_validate(record)
    except ValidationError as error:
        raise ValueError(_first_fault(error)) from None


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"field {name!r} is missing"
    return f"field {name!r}: got {reprlib.repr(fault['input'])}, {fault['msg'].replace('Input should be', 'expected')}"
