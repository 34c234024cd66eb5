"""``python -m inspatio``: the same as the command ``inspatio``."""

import sys

from inspatio.pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
