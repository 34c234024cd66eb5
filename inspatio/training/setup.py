"""From a config to a stage with its networks: which roles each stage has, and where they start."""

from __future__ import annotations

from pathlib import Path

from inspatio.models.wan.dit import CausalDiT
from inspatio.models.worldfm.dit import WorldFM
from inspatio.training.config import CLIP_STAGES, TrainConfig
from inspatio.training.parallel import Processes
from inspatio.training.roles import Role, load_clip_network, load_completion_network, load_frame_network, prepare
from inspatio.training.stages.base import Stage
from inspatio.training.stages.completion import CompletionStage
from inspatio.training.stages.frames import FrameMatchingStage, FrameMiddleStage
from inspatio.training.stages.initial import InitialStage
from inspatio.training.stages.matching import MatchingStage, SelfForcingStage, Task
from inspatio.training.stages.teacher import TeacherStage


def make_stage(config: TrainConfig, processes: Processes) -> Stage:
    """Load the networks of a stage.

    Raises:
        MissingWeightsError: a checkpoint is missing, damaged, another model's, or of another size than its config.
        UsageError: networks that must be of one size are not.
    """
    if config.stage == "completion":
        return _completion_stage(config, processes)
    if config.stage not in CLIP_STAGES:
        return _frame_stage(config, processes)
    network, optimizer = config.network, config.optimizer

    def trained(name: str, path: str, rate: float) -> Role[CausalDiT]:
        loaded = load_clip_network(Path(path), Path(network.wan_path))
        return Role(name, prepare(loaded, network, config.seed), processes, optimizer, rate)

    def frozen(path: str) -> Role[CausalDiT]:
        return Role("teacher", load_clip_network(Path(path), Path(network.wan_path)), processes, None)

    def student() -> Role[CausalDiT]:
        return trained("student", network.initial, optimizer.learning_rate)

    def task(name: str, path: str, weight: float, *, text_alone: bool = False) -> Task:
        fake = trained(f"fake_{name}", network.fake or path, optimizer.fake_learning_rate)
        return Task(
            name,
            frozen(path),
            fake,
            weight,
            (lambda clip: clip.as_text_to_video()) if text_alone else lambda clip: clip,
        )

    match config.stage:
        case "teacher":
            return TeacherStage(config, processes, [student()])
        case "init":
            teacher = None if config.loss.target == "data" else frozen(network.teacher)
            return InitialStage(config, processes, student(), teacher)
        case "self_forcing":
            return SelfForcingStage(config, processes, [student()])
        case "dmd":
            return MatchingStage(config, processes, student(), [task("control", network.teacher, 1.0)])
        case "jdmd":
            tasks = [
                task("control", network.teacher, config.loss.control_weight),
                task("visual", network.perceptual_teacher, 1.0, text_alone=True),
            ]
            return MatchingStage(config, processes, student(), tasks)
        case _:
            raise AssertionError(config.stage)


def _completion_stage(config: TrainConfig, processes: Processes) -> CompletionStage:
    network = load_completion_network(config.network.initial, config.seed)
    return CompletionStage(
        config, processes, [Role("student", network, processes, config.optimizer, config.optimizer.learning_rate)]
    )


def _frame_stage(config: TrainConfig, processes: Processes) -> Stage:
    network, optimizer = config.network, config.optimizer

    def trained(name: str, path: str, rate: float) -> Role[WorldFM]:
        loaded = load_frame_network(Path(path))
        return Role(name, prepare(loaded, network, config.seed), processes, optimizer, rate)

    student = trained("student", network.initial, optimizer.learning_rate)
    if config.stage == "worldfm":
        return FrameMiddleStage(config, processes, [student])
    teacher = Role("teacher", load_frame_network(Path(network.teacher)), processes, None)
    fake = trained("fake", network.fake or network.teacher, optimizer.fake_learning_rate)
    return FrameMatchingStage(config, processes, student, teacher, fake)
