"""`inspatio verify`: read every file that the manifests record and compare it with its hash."""

from __future__ import annotations

import logging
from pathlib import Path

from inspatio.errors import UserError
from inspatio.pipeline.manifest import MANIFEST_NAME
from inspatio.pipeline.options import VerifyOptions
from inspatio.pipeline.result_files import verify_folder

_log = logging.getLogger(__name__)


def verify(options: VerifyOptions) -> int:
    """Check a work folder and one output folder, or all of those below it. Nothing is written.

    Returns:
        The exit code: 0 all files are whole, 1 some are not.

    Raises:
        UserError: a folder has no manifest, or one that cannot be read.
    """
    total, faults = 0, []
    for folder in _folders(options):
        count, found = verify_folder(folder)
        total += count
        faults += found
    for fault in faults:
        _log.error("verify: %s", fault)
    if faults:
        _log.error("verify: delete the damaged files and run the pipeline again: it makes what is missing")
    _log.info("verify: %d of %d files are whole", total - len(faults), total)
    return 1 if faults else 0


def _folders(options: VerifyOptions) -> list[Path]:
    work = options.work_folder
    if not work.is_dir():
        raise UserError(f"--work_folder {work}: got no such folder, expected one of an earlier run")
    if options.output_folder is not None:
        return [work, options.output_folder]
    return [work, *sorted(path.parent for path in work.glob(f"*/{MANIFEST_NAME}"))]
