"""Make docs/gallery from a finished evaluation: python scripts/make_gallery.py output/evaluation/synthetic

Writes the tables (docs/gallery/README.md) and the sheet of pictures (docs/gallery/suite.jpg) of a report that
`inspatio evaluate --suite synthetic` made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

from inspatio.evaluation.report import PREVIEW, Report, markdown
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
PAIRED = ("psnr/unseen", "flip/unseen", "psnr/seen", "flip/seen", "psnr/whole", "flicker/border")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with report.json and sheet.png")
    folder = parser.parse_args().folder
    report = Report.load(folder / "report.json")
    target = Path("docs/gallery")
    target.mkdir(parents=True, exist_ok=True)
    sheet = cv2.imread(str(folder / "sheet.png"))
    assert sheet is not None, f"{folder}/sheet.png cannot be read"
    small = cv2.resize(sheet, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(target / "suite.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    write_text(target / "README.md", page(report))


def page(report: Report) -> str:
    """The page: what was measured and on what, the tables, the pictures."""
    facts = report.facts
    lines = ["# The held-out suite", "", f"{report.title}; every {facts['stride']}th frame; {facts['machine']};"]
    lines += [f"{facts['date']}. Mean over clips ± standard error. Made by `inspatio evaluate --suite synthetic` and"]
    lines += ["`python scripts/make_gallery.py`; what each figure means is in `inspatio/evaluation/`.", ""]
    for title, figures in TABLES.items():
        lines += [f"## {title}", "", markdown(report, figures), ""]
    lines += ["## Paired differences to the preview", "", markdown(report, PAIRED, PREVIEW), ""]
    lines += ["`*`: at least two standard errors.", "", *report.notes, "", "## Pictures", ""]
    return "\n".join([*lines, "![a clip of each path, by every method](suite.jpg)", ""])


if __name__ == "__main__":
    main()
