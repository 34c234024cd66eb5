"""What a training run writes down: ``log.jsonl`` (one JSON object a line), TensorBoard's files, pictures of samples.

TensorBoard is optional (the extra ``training``). Losses of distribution matching say little about quality; look at the
held-out error and the pictures.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from inspatio.errors import UserError
from inspatio.storage import atomic_file, explain
from inspatio.types import Frames, Image

LOG_NAME, BOARD_NAME, PICTURES_NAME = "log.jsonl", "tensorboard", "pictures"
PICTURE_COLUMNS = 6

_log = logging.getLogger(__name__)


class RunLog:
    """The records of one run; only the main process has one."""

    def __init__(self, run: Path) -> None:
        self.run = run
        try:
            run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain(error, run) from error
        self._board: Any = None
        if importlib.util.find_spec("tensorboard") is None:
            _log.warning("no TensorBoard files are written: pip install 'inspatio[training]' for them")
            return
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(run / BOARD_NAME))

    def write(self, event: str, step: int, values: Mapping[str, float]) -> None:
        """Append values of a step."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, "step": step, **values}
        try:
            with (self.run / LOG_NAME).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise explain(error, self.run / LOG_NAME) from error
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{event}/{name}", value, step)

    def picture(self, step: int, image: Image) -> None:
        """Keep a picture of samples at a step."""
        path = self.run / PICTURES_NAME / f"step_{step:08d}.png"
        done, encoded = cv2.imencode(".png", image[..., ::-1])
        if not done:
            raise UserError(f"{path}: the picture could not be encoded: got {image.shape}. Report this")
        with atomic_file(path) as part:
            part.write_bytes(encoded.tobytes())
        if self._board is not None:
            self._board.add_image("samples", image, step, dataformats="HWC")
            self._board.flush()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def read_log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (run / LOG_NAME).read_text(encoding="utf-8").splitlines()]


def sheet(rows: list[Frames]) -> Image:
    """Some frames of each clip ``t h w 3`` side by side, one clip below the other: ``h w 3``."""
    count = min(PICTURE_COLUMNS, *(len(row) for row in rows))
    lines = [row[np.linspace(0, len(row) - 1, count).round().astype(int)] for row in rows]
    return np.concatenate([np.concatenate(list(line), axis=1) for line in lines], axis=0)
