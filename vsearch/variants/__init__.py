"""Whether two photos are one picture, altered: for queries (``kinds``) as for duplicates (``judging``)."""
