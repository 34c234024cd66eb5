"""The metrics of reports: label, unit, what is best, and the order in which tables show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """How a metric is shown; ``best`` is the direction, or the value itself where that is ``one``."""

    label: str
    unit: str
    best: Literal["high", "low", "one", "none"]
    digits: int


METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR", "dB", "high", 2),
    "ssim": Metric("SSIM", "", "high", 3),
    "flip": Metric("FLIP", "", "low", 3),
    "sharpness": Metric("sharpness / truth's", "", "one", 2),
    "patch_distance": Metric("patch distance", "sd", "low", 3),
    "lpips_alex": Metric("LPIPS (alex)", "", "low", 3),
    "lpips_squeeze": Metric("LPIPS (squeeze)", "", "low", 3),
    "lpips_vgg": Metric("LPIPS (vgg)", "", "low", 3),
    "dists": Metric("DISTS", "", "low", 3),
    "flicker": Metric("flicker beyond the truth's", "1/255", "low", 2),
    "reprojection_1": Metric("reprojection over 1 frame", "dB", "high", 2),
    "reprojection_12": Metric("reprojection over 12 frames", "dB", "high", 2),
    "reprojection_36": Metric("reprojection over 36 frames", "dB", "high", 2),
    "revisit": Metric("revisit of equal poses", "dB", "high", 2),
    "saturation": Metric("saturation / reference's", "", "one", 3),
    "contrast": Metric("contrast / reference's", "", "one", 3),
    "colour_drift": Metric("colour drift", "1/255", "low", 2),
    "coverage": Metric("coverage", "", "none", 3),
    "camera_failures": Metric("frames without a camera", "", "low", 3),
    "rot_err_mean_deg": Metric("RotErr, mean", "deg", "low", 3),
    "rot_err_sum_rad": Metric("RotErr, sum", "rad", "low", 3),
    "trans_err_rel_mean": Metric("TransErr rel, mean", "", "low", 4),
    "trans_err_rel_sum": Metric("TransErr rel, sum", "", "low", 3),
    "trans_err_abs_mean": Metric("TransErr abs, mean", "", "low", 4),
    "trans_err_abs_sum": Metric("TransErr abs, sum", "", "low", 3),
    "cam_mc_rel_mean": Metric("CamMC rel, mean", "", "low", 4),
    "cam_mc_rel_sum": Metric("CamMC rel, sum", "", "low", 3),
    "cam_mc_abs_mean": Metric("CamMC abs, mean", "", "low", 4),
    "cam_mc_abs_sum": Metric("CamMC abs, sum", "", "low", 3),
    "ate_share": Metric("ATE, share of the path", "", "low", 4),
    "geometry_abs_rel": Metric("geometry: AbsRel", "", "low", 4),
    "geometry_delta": Metric("geometry: delta < 1.25", "", "high", 3),
    "geometry_rotation_deg": Metric("geometry: source rotation", "deg", "low", 3),
    "geometry_path_share": Metric("geometry: source path", "share", "low", 4),
    "frames_per_second": Metric("speed", "frames/s", "high", 1),
    "cpu_ms_per_frame": Metric("speed", "CPU ms/frame", "low", 0),
    "first_block_seconds": Metric("first block", "s", "low", 2),
}
"""By name; a figure is called ``metric`` or ``metric/region``, camera errors with one of PREFIXES before it."""

STRUCTURE_FROM_MOTION, GIVEN = "sfm_", "given_"
PREFIXES = {STRUCTURE_FROM_MOTION: "COLMAP", GIVEN: "given poses"}
"""Camera errors by other estimators than points of known depth, and how tables name those."""
_REGIONS = ("covered", "seen", "unseen", "holes", "border", "whole", "")


def _parts(figure: str) -> tuple[str, str, str]:
    """Prefix, metric and region of a figure."""
    name, _, region = figure.partition("/")
    prefix = next((each for each in PREFIXES if name.startswith(each)), "")
    return prefix, name.removeprefix(prefix), region


def metric_of(figure: str) -> Metric:
    """The metric of a figure's name."""
    return METRICS[_parts(figure)[1]]


def label_of(figure: str) -> str:
    """A figure as tables name it: label, estimator, unit, region."""
    prefix, name, region = _parts(figure)
    metric = METRICS[name]
    estimator = f" by {PREFIXES[prefix]}" if prefix else ""
    return f"{metric.label}{estimator}{f' [{metric.unit}]' if metric.unit else ''}{f', {region}' if region else ''}"


def in_order(figures: set[str]) -> list[str]:
    """Names of figures in the order of tables: by estimator and metric, then as regions are listed."""
    prefixes, order = ("", *PREFIXES), list(METRICS)

    def key(figure: str) -> tuple[int, int, int]:
        prefix, name, region = _parts(figure)
        return prefixes.index(prefix), order.index(name), _REGIONS.index(region)

    return sorted(figures, key=key)
