"""``python -m vsearch`` is ``vsearch``."""

from vsearch.cli import main

main()
