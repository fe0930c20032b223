"""Where the command ``vsearch`` begins, and ``python -m vsearch``."""

import sys

_INTERRUPTED = 130


def main() -> None:
    """Import the command line and run it; Ctrl-C ends quietly from here on."""
    try:
        from vsearch.cli import main as run
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
