"""Photos that are one picture: proposed, compared, grouped, and what is done about them.

``proposals``, ``nearhashes`` and ``neighbours`` say which photos to compare, ``finding`` has them judged
by :mod:`vsearch.variants` and grouped, and ``comparisons`` keeps what was compared.  ``keeping`` chooses,
``decisions`` remembers what the user chose, ``superfluous`` and ``moving`` take the others away.
``actions`` composes them.
"""
