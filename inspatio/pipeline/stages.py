"""The stages by name."""

from __future__ import annotations

from inspatio.pipeline.caption import CaptionStage
from inspatio.pipeline.generate import GenerateStage
from inspatio.pipeline.geometry import GeometryStage
from inspatio.pipeline.render import RenderStage
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workspace import Workspace
from inspatio.settings import StageName


def make_stage(name: StageName, workspace: Workspace) -> Stage:
    """A stage for the clips of a workspace."""
    match name:
        case "caption":
            return CaptionStage(workspace)
        case "geometry":
            return GeometryStage(workspace)
        case "render":
            return RenderStage(workspace)
        case "generate":
            return GenerateStage(workspace)
