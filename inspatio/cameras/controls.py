"""Adapt a clip to a trajectory: the user's choices, and which source frame is shown at each place of the result.

In this order: one frame may be frozen; the clip is bounced or subsampled to the length that the trajectory needs; the
trajectory is interpolated over that length. Frames, depth, intrinsics and source poses all follow :func:`clip_order`
(``scene.select``), and the cameras of ``scene.target_cameras`` are both the ones rendered and the ones saved.

Rules and numbers are those of InSpatio-World (arXiv 2604.07209).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from inspatio.cameras.timeline import bounced
from inspatio.cameras.trajectory import (
    MAX_DEGREES_PER_FRAME,
    MAX_FRAMES,
    MAX_TURN_DEGREES,
    MatrixTrajectory,
    Trajectory,
    along,
    moments,
)
from inspatio.clip_options import Controls
from inspatio.errors import ClipError

MIN_DEGREES_PER_FRAME = 0.3
MIN_FRAMES = 121


def clip_order(
    frame_count: int,
    trajectory: Trajectory,
    controls: Controls,
    *,
    frame_rate: Fraction | None = None,
    still: bool = False,
) -> list[int]:
    """The source frame (below ``frame_count``) shown at each place of the adapted clip; the first is frame 0.

    A flight (a camera for every frame) and a path with a time of its own say themselves which source frame they show. A
    ``still`` scene shows its first view throughout, for as long as the path takes. ``controls.frames`` or
    ``controls.seconds`` (at ``frame_rate``) fix the length of other paths.

    Raises:
        ClipError: the frame to freeze is not in the clip, the path turns so far that it needs over 100 000 frames, or
            a flight shows a frame that the clip does not have.
    """
    assert frame_count > 0, "a clip has at least one frame"
    own = trajectory.order(frame_count)
    if own is None and trajectory.time is not None:
        own = _timed(frame_count, trajectory, trajectory.time, controls)
    if own is not None:
        return _checked([0] * len(own) if still else own, frame_count, controls)
    wanted = controls.frames
    if controls.seconds is not None:
        assert frame_rate is not None, "seconds count frames of some rate"
        wanted = max(round(controls.seconds * frame_rate), 1)
    frozen = [0] * _pose_count(trajectory) if still else _freeze(frame_count, controls)
    if wanted is None:
        if not controls.adaptive_frames:
            return frozen
        _check_turn(trajectory)
        wanted = adapted_frame_count(len(frozen), trajectory.total_angle)
    adapted = bounce(len(frozen), wanted) if wanted > len(frozen) else subsample(len(frozen), wanted)
    return [frozen[i] for i in adapted]


def _pose_count(trajectory: Trajectory) -> int:
    """How many frames a path has by itself: one for each matrix, and the least number that any path gets."""
    return max(len(trajectory.key_poses) if isinstance(trajectory, MatrixTrajectory) else 1, MIN_FRAMES)


def _checked(order: list[int], frame_count: int, controls: Controls) -> list[int]:
    """The order of a path that has its own times, if the clip has its frames."""
    if max(order) >= frame_count:
        raise ClipError(
            f"trajectory: shows source frame {max(order)}, but the clip has {frame_count} frames. "
            "A flight belongs to the clip it was recorded on."
        )
    if controls.freeze_repeat:
        raise ClipError(
            f"--freeze_repeat {controls.freeze_repeat}: the trajectory has its own times; expected 0. Leave it out."
        )
    return order


def _timed(frame_count: int, trajectory: Trajectory, keyframes: Sequence[float], controls: Controls) -> list[int]:
    """The frames that time keyframes show: between all of them equally long, and nowhere faster than the clip was shot.

    Of more frames where the camera would otherwise turn too fast.
    """
    steps = np.abs(np.diff(keyframes))
    fastest = float(steps.max()) if len(steps) and steps.max() > 0 else 1.0
    count = math.ceil(max(len(steps), 1) * fastest * (frame_count - 1) - 1e-9) + 1
    if controls.adaptive_frames:
        _check_turn(trajectory)
        count = max(count, math.ceil(trajectory.total_angle / MAX_DEGREES_PER_FRAME - 1e-9) + 1)
    if count > MAX_FRAMES:
        raise ClipError(
            f"trajectory: its times need {count} frames, expected at most {MAX_FRAMES}. Give fewer keyframes."
        )
    return moments(along(keyframes, count), frame_count)


def _check_turn(trajectory: Trajectory) -> None:
    if not trajectory.total_angle <= MAX_TURN_DEGREES:
        raise ClipError(
            f"trajectory: turns {trajectory.total_angle:g} degrees in total, expected at most "
            f"{MAX_TURN_DEGREES:g} ({MAX_FRAMES} frames at {MAX_DEGREES_PER_FRAME:g} degrees). Check its angles."
        )


def adapted_frame_count(frame_count: int, total_angle: float) -> int:
    """The clip length nearest to ``frame_count`` that turns ``total_angle`` degrees neither too fast nor too slowly.

    At most 0.8 degrees per frame; at least 0.3 degrees per frame and at least 121 frames. Where the last two contradict
    each other, 121 frames win. A path that does not turn keeps the clip's length.
    """
    if total_angle < 1e-3:
        return frame_count
    # The tolerance keeps 36.3 / 0.3 from becoming 120.999...
    fewest = max(math.ceil(total_angle / MAX_DEGREES_PER_FRAME - 1e-9) + 1, MIN_FRAMES)
    most = max(math.floor(total_angle / MIN_DEGREES_PER_FRAME + 1e-9) + 1, fewest)
    return min(max(frame_count, fewest), most)


def bounce(frame_count: int, target: int) -> list[int]:
    """``target`` frame indices that play a clip to and fro, no frame twice in a row: 0 1 .. n-1 .. 1 0 1 .."""
    return [bounced(place, frame_count) for place in range(target)]


def subsample(frame_count: int, target: int) -> Sequence[int]:
    """``target`` frame indices spread evenly from the first frame to the last."""
    return np.rint(np.linspace(0, frame_count - 1, target)).astype(int).tolist()


def _freeze(frame_count: int, controls: Controls) -> list[int]:
    order = list(range(frame_count))
    if controls.freeze_repeat == 0:
        return order
    frame = frame_count // 2 if controls.freeze_frame == "middle" else controls.freeze_frame
    if frame >= frame_count:
        raise ClipError(
            f"--freeze_frame {frame}: the clip has {frame_count} frames, expected 0 to {frame_count - 1} or middle"
        )
    return order[: frame + 1] + [frame] * controls.freeze_repeat + order[frame + 1 :]
