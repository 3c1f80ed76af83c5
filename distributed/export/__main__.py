"""``python -m distributed.export``: the same as ``terraprompt export``."""

import sys

from distributed.cli import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
