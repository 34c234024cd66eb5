"""A picture of one or more clips, for eyes: a row for each clip, evenly spaced frames across; or a small moving one.

python scripts/contact_sheet.py output/*/x_y_circle_cycle/*.mp4 -o sheet.png
python scripts/contact_sheet.py examples/room.mp4 result.mp4 --labels source,"new view" --gif room.gif
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from inspatio.errors import UserError
from inspatio.export.contact_sheet import moments, pictures, sheet, write_gif
from inspatio.media import probe
from inspatio.storage import atomic_file


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="the clips, in the order to show them")
    parser.add_argument("-o", "--output", type=Path, help="the sheet to write (.png or .jpg)")
    parser.add_argument("--gif", type=Path, help="the moving picture to write (.gif)")
    parser.add_argument("--labels", help="names to write on the clips, separated by commas [file names]")
    parser.add_argument("--frames", type=int, default=6, help="frames of each clip on the sheet [6]")
    parser.add_argument("--width", type=int, default=320, help="width of one clip in pixels [320]")
    parser.add_argument("--fps", type=int, default=10, help="frames per second of the GIF [10]")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of the GIF at most [6]")
    parser.add_argument("--colours", type=int, default=128, help="colours of the GIF, up to 256 [128]")
    options = parser.parse_args(arguments)
    if options.output is None and options.gif is None:
        parser.error("nothing to write: give -o SHEET.png, --gif MOVING.gif, or both")
    for path, known in ((options.output, (".png", ".jpg")), (options.gif, (".gif",))):
        if path is not None and path.suffix.lower() not in known:
            parser.error(f"{path}: expected a name ending in {' or '.join(known)}")
    options.labels = options.labels.split(",") if options.labels else [path.stem for path in options.videos]
    if len(options.labels) != len(options.videos):
        parser.error(f"{len(options.labels)} labels for {len(options.videos)} clips; give one for each")
    for name, least in (("frames", 1), ("width", 16), ("fps", 1), ("colours", 4)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(options, name)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        videos = [probe(path) for path in options.videos]
        if options.output is not None:
            image = sheet(videos, options.labels, options.frames, options.width)
            with atomic_file(options.output) as part:
                encoded = cv2.imencode(options.output.suffix, image[..., ::-1])[1]
                part.write_bytes(encoded.tobytes())
        if options.gif is not None:
            times = moments(videos, options.fps, options.seconds)
            images = pictures(videos, options.labels, options.width, times)
            write_gif(options.gif, images, options.fps, options.colours)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
