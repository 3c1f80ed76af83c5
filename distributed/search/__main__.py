"""``python -m distributed.search``: the same as ``terraprompt search``."""

import sys

from distributed.cli import main

if __name__ == "__main__":
    main(["search", *sys.argv[1:]])
