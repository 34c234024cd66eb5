"""Run COLMAP over a folder of pictures: ``python -m inspatio.evaluation.colmap_process FOLDER``.

Reads ``images/*.png`` of one camera and ``intrinsics.npy`` (``3 3``), writes ``poses.npz``: ``world_to_camera`` (``m 4
4``) and ``places``, the numbers of the pictures that could be placed. A process of its own: see
``camera_estimation.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main(folder: Path) -> None:
    import pycolmap

    camera = np.load(folder / "intrinsics.npy")
    database = folder / "database.db"
    # COLMAP's pixel origin is the first pixel's corner.
    params = [camera[0, 0], camera[1, 1], camera[0, 2] + 0.5, camera[1, 2] + 0.5]
    reader = pycolmap.ImageReaderOptions(camera_model="PINHOLE", camera_params=",".join(map(str, params)))
    pycolmap.extract_features(
        database,
        folder / "images",
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=reader,
        device=pycolmap.Device.cpu,
    )
    pycolmap.match_sequential(database)
    options = pycolmap.IncrementalPipelineOptions()
    options.ba_refine_focal_length = options.ba_refine_principal_point = options.ba_refine_extra_params = False
    models = pycolmap.incremental_mapping(database, folder / "images", folder, options)
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
