"""The part of an index that deals with duplicates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vsearch.duplicates.records import DuplicateGroup
from vsearch.opened import OpenIndex

if TYPE_CHECKING:  # imported where it is used, or every command would wait for it
    from vsearch.duplicates.actions import Duplicates

PathLike = str | os.PathLike[str]


class TidyIndex(OpenIndex):
    """An open index that finds its duplicates; the base of :class:`vsearch.Index`."""

    def duplicates(
        self,
        *,
        kinds: Sequence[str] = (),
        within: PathLike | None = None,
        keep: str = "largest,oldest",
        sharpness: bool = False,
    ) -> list[DuplicateGroup]:
        """Groups of photos that are one picture, or one burst, each around a representative.

        What is found is remembered in the index: the next call compares only photos added since.

        Args:
            kinds: of :data:`~vsearch.records.Relation`, the relations to report; all by default.
            within: only photos in this folder, or below it.
            keep: rules for the photo to keep, strongest first: ``largest``, ``oldest``, ``sharpest``,
                ``format``, ``path:GLOB``, separated by commas.
            sharpness: measure how sharp each photo of a group is, from its file.

        Raises:
            UsageError: an unknown kind or rule, or no photo of the index within that folder.
        """
        from vsearch.duplicates.actions import GroupOptions

        return self.tidying().groups(GroupOptions(kinds, within, keep, sharpness))

    def tidying(self) -> Duplicates:
        """What can be decided about duplicates, and done with them: decisions, moves, links, undo."""
        from vsearch.duplicates.actions import Duplicates

        return Duplicates(self._directory, self._reading(), self._settings.encoder)
