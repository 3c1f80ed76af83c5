"""``python -m distributed.train``: the same as ``terraprompt train``."""

import sys

from distributed.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
