"""``python -m distributed.cli``: the same as ``terraprompt``."""

from distributed.cli import main

if __name__ == "__main__":
    main()
