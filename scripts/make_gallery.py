"""Make docs/gallery from finished evaluations: python scripts/make_gallery.py output/evaluation/synthetic [MORE ...]

Writes the tables (docs/gallery/README.md) and the sheet of pictures (docs/gallery/suite.jpg) of reports that
`inspatio evaluate --suite synthetic` made. Several reports are put together: each gives the methods and clips that
those before it have not, and a method that was measured on fewer clips says on how many.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2

from inspatio.evaluation.report import PREVIEW, Report, markdown
from inspatio.evaluation.statistics import Figures
from inspatio.evaluation.suite import PATHS, SUITES
from inspatio.storage import write_text

SCALE, JPEG_QUALITY = 0.7, 75
TABLES = {
    "Holes that nobody saw": ("psnr/unseen", "flip/unseen", "sharpness/unseen", "patch_distance/unseen"),
    "Holes that other frames show": ("psnr/seen", "flip/seen", "sharpness/seen", "patch_distance/seen"),
    "All pixels": ("psnr/whole", "ssim/whole", "flip/whole", "psnr/covered", "coverage"),
    "Time": (
        "flicker/border",
        "reprojection_1/holes",
        "reprojection_12/holes",
        "reprojection_36/holes",
        "revisit/holes",
    ),
    "Camera": ("rot_err_mean_deg", "trans_err_rel_mean", "trans_err_abs_mean", "cam_mc_rel_mean", "camera_failures"),
    "Geometry": ("geometry_abs_rel", "geometry_delta", "geometry_rotation_deg", "geometry_path_share"),
}
BY_PATH = ("coverage", "psnr/covered", "psnr/seen", "psnr/unseen", "flip/unseen", "sharpness/unseen", "flicker/border")
PAIRED = ("psnr/unseen", "flip/unseen", "psnr/seen", "flip/seen", "psnr/whole", "flicker/border")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="with report.json; the first one's sheet.png is taken")
    folders = parser.parse_args().folders
    folder = folders[0]
    report = together([Report.load(each / "report.json") for each in folders])
    target = Path("docs/gallery")
    target.mkdir(parents=True, exist_ok=True)
    sheet = cv2.imread(str(folder / "sheet.png"))
    assert sheet is not None, f"{folder}/sheet.png cannot be read"
    small = cv2.resize(sheet, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(target / "suite.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    write_text(target / "README.md", page(report))


def together(reports: list[Report]) -> Report:
    """One report of several; figures of a method on a clip are those of the first report that has them."""
    methods: dict[str, dict[str, Figures]] = {}
    for report in reports:
        for method, clips in report.methods.items():
            for clip, figures in clips.items():
                methods.setdefault(method, {}).setdefault(clip, figures)
    most = max(len(clips) for clips in methods.values())
    named = {
        method if len(clips) == most else f"{method} ({len(clips)} clips)": clips for method, clips in methods.items()
    }
    suite = SUITES[reports[0].facts["suite"]["name"]]
    title = f"Suite {suite.name}, version {suite.version}: {most} of {len(suite.clips)} clips"
    return replace(reports[0], title=title, methods=named)


def by_path(report: Report) -> Report:
    """The preview's figures with the kinds of path in place of methods."""
    paths = {clip.name: clip.path for clip in SUITES[report.facts["suite"]["name"]].clips}
    kinds = {
        path: {name: figures for name, figures in report.methods[PREVIEW].items() if paths[name] == path}
        for path in PATHS
    }
    return replace(report, methods={f"{path} ({len(clips)} clips)": clips for path, clips in kinds.items() if clips})


def page(report: Report) -> str:
    """The page: what was measured and on what, the tables, the pictures."""
    facts = report.facts
    lines = ["# The held-out suite", "", f"{report.title}; every {facts['stride']}th frame; {facts['machine']};"]
    lines += [f"{facts['date']}. Mean over clips ± standard error. Made by `inspatio evaluate --suite synthetic` and"]
    lines += ["`python scripts/make_gallery.py`; what each figure means is in `inspatio/evaluation/`.", ""]
    for title, figures in TABLES.items():
        lines += [f"## {title}", "", markdown(report, figures), ""]
    lines += ["## The preview by kind of path", "", markdown(by_path(report), BY_PATH), ""]
    lines += ["## Paired differences to the preview", "", markdown(report, PAIRED, PREVIEW), ""]
    lines += ["`*`: at least two standard errors.", "", *report.notes, "", "## Pictures", ""]
    return "\n".join([*lines, "![a clip of each path, by every method](suite.jpg)", ""])


if __name__ == "__main__":
    main()
