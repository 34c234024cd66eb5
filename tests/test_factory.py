"""The factory makes something of every name that a profile may hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from inspatio import factory
from inspatio.config import CaptionConfig, GeneratorConfig, GeometryConfig, Profile, RenderConfig, load_profile
from inspatio.locations import shipped


def names(config: type, field: str = "backend") -> tuple[Any, ...]:
    return get_args(get_type_hints(config)[field])


@pytest.fixture
def tiny(here: Path) -> Profile:
    return load_profile(shipped("configs") / "tiny.yaml")


def test_every_name_is_made(tiny: Profile, tmp_path: Path) -> None:
    made = {}
    for name in names(GeometryConfig):
        made[name] = factory.make_geometry(replace(tiny.geometry, backend=name), "cpu")
    for name in names(RenderConfig):
        made[name] = factory.make_renderer(replace(tiny.render, backend=name), "cpu")
    for name in names(GeneratorConfig):
        own = load_profile(shipped("configs") / "worldfm_tiny.yaml").generator  # of another schedule
        config = own if name == "worldfm" else replace(tiny.generator, backend=name)
        made[name] = factory.make_generator(config, tiny.size, "cpu", tmp_path, renderer=made["warper"])
        assert factory.describe_generator(config, tiny.size)
    for name in set(names(CaptionConfig)) - {"sidecar"}:  # text files, without a captioner
        made[name] = factory.make_captioner(replace(tiny.caption, backend=name), "cpu")
    assert len({type(thing) for thing in made.values()}) == len(made)  # no two names for one implementation


def test_every_fallback_of_auto_is_made(tiny: Profile) -> None:
    assert set(names(GeometryConfig, "fallback")) == set(names(GeometryConfig)) - {"auto"}
    for name in names(GeometryConfig, "fallback"):
        assert factory.make_geometry(replace(tiny.geometry, backend=name), "cpu")
