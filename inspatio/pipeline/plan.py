"""What running the stages would do with every clip, and why."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from inspatio.errors import ClipError, MissingWeightsError
from inspatio.models.checkpoints import needs
from inspatio.pipeline.job import Job
from inspatio.pipeline.log import facts, shortened
from inspatio.pipeline.reasons import differences
from inspatio.pipeline.records import STAGES, StageResult
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workspace import ClipState
from inspatio.settings import StageName

Status = Literal["fresh", "trusted", "to do", "missing", "failed"]

NOT_MADE = "not made yet"
MAX_REASONS = 8
"""Different reasons that are shown for a stage; --verbose shows those of all clips."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What a stage would do with a clip, and why it has to be made."""

    status: Status
    reason: str = ""


StagePlan: TypeAlias = Mapping[str, Plan]
"""The plans of a stage by clip id."""


def plan_clip(stage: Stage, state: ClipState) -> Plan:
    """What running the stage would do with a clip."""
    if state.error:
        return Plan("failed", f"stopped in {state.error.stage}")
    damage = stage.damage(state)
    result = None if damage else stage.result(state)
    if stage.name in stage.job.skip:
        option = STAGES[stage.name].skip_option
        return Plan("trusted") if result else Plan("missing", damage or f"{option}, but there is no result")
    recorded = stage.recorded(state)
    if recorded is None:
        return Plan("to do", NOT_MADE)
    try:
        now = StageResult(**stage.made_from(state))
    except (ClipError, MissingWeightsError) as error:  # processing the clip will report it
        return Plan("to do", str(error).splitlines()[0])
    if recorded.fingerprint != now.fingerprint:
        return Plan("to do", _why(stage.name, recorded, now))
    if damage or result is None:
        return Plan("to do", damage or "a file of it is not there")
    return Plan("to do", "--force") if stage.job.force else Plan("fresh")


def plan_stage(stage: Stage) -> dict[str, Plan]:
    """What running the stage would do with every clip, by clip id."""
    return {state.id: plan_clip(stage, state) for state in stage.workspace.clips}


def plan_run(stages: Sequence[Stage]) -> dict[StageName, dict[str, Plan]]:
    """What running these stages one after the other would do with every clip, before any of them has run."""
    plans: dict[StageName, dict[str, Plan]] = {stage.name: {} for stage in stages}
    if not stages:
        return plans
    missing: dict[str, list[str]] = {}
    job = stages[0].job
    required = weights_required(job, list(plans))
    for need in (need for need in needs(job.profile) if need.stage in required):
        if need.missing:
            missing.setdefault(need.stage, []).append(need.what)
    for state in stages[0].workspace.clips:
        for name, plan in _plan_ahead(stages, state):
            if plan.status == "to do" and missing.get(name):
                plan = Plan("to do", f"{plan.reason}; weights are missing: {', '.join(missing[name])}")
            plans[name][state.id] = plan
    return plans


def _plan_ahead(stages: Sequence[Stage], state: ClipState) -> list[tuple[StageName, Plan]]:
    """The plan of each stage for a clip, with the earlier stages' results as they are going to be."""
    plans: list[tuple[StageName, Plan]] = []
    new_prompt = stopped = False
    for stage in stages:
        plan = Plan("failed", "an earlier stage fails") if stopped else plan_clip(stage, state)
        if plan.status == "fresh" and new_prompt and stage.name == "generate":
            plan = Plan("to do", "its caption is made again and may differ")
        plans.append((stage.name, plan))
        stopped = stopped or plan.status in ("missing", "failed")
        if plan.status == "to do":
            try:
                result = stage.expected(state)
            except (ClipError, MissingWeightsError):
                result = StageResult(fingerprint="")  # unlike any, so that later results are out of date
            if result is None:
                new_prompt = True
            else:  # of later stages' questions it answers all, though it may lack the fields of the real one
                state = state.model_copy(update={STAGES[stage.name].field: result})
    return plans


def _why(stage: StageName, recorded: StageResult, now: StageResult) -> str:
    if recorded.inputs is None:
        return "made from other inputs, which an earlier version did not record"
    found = differences(stage, recorded.inputs, now.inputs or {})
    # The inputs agree where only their form has changed, say the nesting of a stage's settings.
    return ", ".join(found) or "made by an older version"


def weights_required(job: Job, stages: Sequence[StageName]) -> set[StageName]:
    """The stages whose weights have to be there before a run of these stages begins.

    With --caption no captioner is needed. Whether every clip has a caption file is known only after opening them.
    """
    return {name for name in stages if name not in job.skip and not (name == "caption" and job.caption is not None)}


def log_plan(stage: StageName, plans: StagePlan, *, is_first_look: bool = False) -> None:
    """Log what a stage is going to do, with clips of equal reasons together.

    Damage and changes are always told; that a clip is new, only where ``is_first_look``.
    """
    done = sum(plan.status in ("fresh", "trusted") for plan in plans.values())
    if done:
        _log.info("%8s: %d of %d clips are finished already", stage, done, len(plans))
    groups: dict[tuple[Status, str], list[str]] = {}
    for clip_id, plan in plans.items():
        about = facts("plan", stage=stage, clip=clip_id, reason=plan.reason or None)
        _log.debug("%8s: %s: %s", stage, clip_id, ": ".join(filter(None, (plan.status, plan.reason))), extra=about)
        if plan.status not in ("fresh", "trusted") and (is_first_look or plan.reason != NOT_MADE):
            groups.setdefault((plan.status, plan.reason), []).append(clip_id)
    told = {"to do": "to do", "missing": "cannot go on", "failed": "failed"}
    for (status, reason), clip_ids in list(groups.items())[:MAX_REASONS]:
        level = logging.INFO if status == "to do" else logging.ERROR
        if is_first_look or status == "to do":  # a run reports failures where they happen
            _log.log(level, "%8s: %d %s (%s): %s", stage, len(clip_ids), told[status], shortened(clip_ids), reason)
    rest = list(groups.values())[MAX_REASONS:]
    if rest:
        count = sum(map(len, rest))
        _log.info("%8s: %d more for %d other reasons; --verbose shows all", stage, count, len(rest))
