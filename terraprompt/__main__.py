"""``python -m terraprompt``: the same as the command ``terraprompt``."""

from distributed.cli import main

if __name__ == "__main__":
    main()
