"""Where the published generations of an index are: in its folder, or on the server that its settings name."""

from __future__ import annotations

from vsearch.collection import Generations, generations_at
from vsearch.directory import IndexDirectory
from vsearch.settings import Settings


def generations_of(directory: IndexDirectory, settings: Settings) -> Generations:
    """The generations of the store of ``directory``."""
    return generations_at(directory.chroma, directory.current_file, settings.chroma_url)


def remove_superseded(directory: IndexDirectory, settings: Settings) -> None:
    """Remove the stores that came before that of ``settings``, and what a server holds of them.

    Only the holder of the lock may.

    Raises:
        CollectionError: the server cannot be reached.
    """
    for store in directory.superseded(settings):
        generations_of(store, settings).discard()
    directory.remove_superseded(settings)
