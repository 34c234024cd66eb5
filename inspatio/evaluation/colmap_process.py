"""Run COLMAP over a folder of pictures: ``python -m inspatio.evaluation.colmap_process FOLDER``.

Reads ``images/*.png`` of one camera and ``intrinsics.npy`` (``3 3``), writes ``poses.npz``: ``world_to_camera`` (``m 4
4``) and ``places``, the numbers of the pictures that could be placed. A process of its own: see
``camera_estimation.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SEED = 1


def main(folder: Path) -> None:
    import pycolmap

    camera = np.load(folder / "intrinsics.npy")
    database = folder / "database.db"
    # COLMAP's pixel origin is the first pixel's corner.
    params = [camera[0, 0], camera[1, 1], camera[0, 2] + 0.5, camera[1, 2] + 0.5]
    reader = pycolmap.ImageReaderOptions(camera_model="PINHOLE", camera_params=",".join(map(str, params)))
    pycolmap.set_random_seed(SEED)
    # One thread everywhere: several write in the order in which they happen to be done, which the poses show.
    extraction, matching = pycolmap.FeatureExtractionOptions(), pycolmap.FeatureMatchingOptions()
    extraction.num_threads = matching.num_threads = 1
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = SEED
    pycolmap.extract_features(
        database,
        folder / "images",
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=reader,
        extraction_options=extraction,
        device=pycolmap.Device.cpu,
    )
    pycolmap.match_sequential(
        database, matching_options=matching, verification_options=verification, device=pycolmap.Device.cpu
    )
    # The global mapper: the incremental one wants a first pair of images 16 degrees apart, which such paths have not.
    options = pycolmap.GlobalPipelineOptions()
    options.random_seed = options.mapper.random_seed = SEED
    options.num_threads = 1
    options.mapper.bundle_adjustment.refine_focal_length = False
    options.mapper.bundle_adjustment.refine_extra_params = False
    models = pycolmap.global_mapping(database, folder / "images", folder / "models", options)
    poses, places = [], []
    if models:
        best = max(models.values(), key=lambda model: model.num_reg_images())
        for image in sorted(best.images.values(), key=lambda image: image.name):
            if image.has_pose:
                pose = np.eye(4)
                pose[:3] = image.cam_from_world().matrix()
                poses.append(pose)
                places.append(int(Path(image.name).stem))
    np.savez(folder / "poses.npz", world_to_camera=np.array(poses).reshape(-1, 4, 4), places=np.array(places, int))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
