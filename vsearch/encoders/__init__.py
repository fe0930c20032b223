"""Encoders: functions from pixels to vectors, stored as bundles.

A bundle is a folder with ``encoder.onnx`` and ``encoder.json``.  :mod:`vsearch.encoders.bundles` reads and
checks one, :mod:`vsearch.encoders.session` runs it, :mod:`vsearch.encoders.catalogue` knows the names that
come with the package.
"""

from vsearch.encoders.bundles import Bundle
from vsearch.encoders.catalogue import available, resolve
from vsearch.encoders.clip import NO_WORD
from vsearch.encoders.session import NOT_FINITE, Encoder

__all__ = ["NOT_FINITE", "NO_WORD", "Bundle", "Encoder", "available", "resolve"]
