"""Whether one picture may lie inside another: a first look at small pictures, before keypoints.

Keypoints of a photo take some 14 ms, this half of one, and it sends 19 of 20 pairs of unlike photos away.
One picture, at several scales, is laid on every place of the other, and the best normalised
cross-correlation counts (``cv2.matchTemplate``).  Measured on 52 photos and 450 pairs of neighbours
(docs/duplicates.md): crops down to 70 % of each side, borders, captions and screenshots reach the bound, 95 %
of the others do not.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]

_LONGEST = 24
_SHORTEST = 6
_BOUND = 0.78
_SCALES = tuple(itertools.takewhile(lambda scale: scale > 0.4, (0.93**n for n in itertools.count())))


def small(jpeg: bytes) -> Grey | None:
    """An encoded picture made ready, uint8 [H, W]; ``None`` when it cannot be decoded."""
    import cv2

    grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_4)
    return None if grey is None else _scaled(grey, _LONGEST / max(grey.shape))


def may_contain(a: Grey, b: Grey) -> bool:
    """Whether ``a`` may lie inside ``b`` or ``b`` inside ``a``; both of :func:`small`."""
    return any(
        _correlation(a, b, scale) >= _BOUND or _correlation(b, a, scale) >= _BOUND for scale in _SCALES
    )


def _correlation(inner: Grey, outer: Grey, scale: float) -> float:
    """Of ``inner``, scaled, where it fits best in ``outer``; -1 where it is too large or too small."""
    import cv2

    template = _scaled(inner, scale)
    height, width = outer.shape
    # One pixel more is a matter of rounding: it is cut off.
    if template.shape[0] > height + 1 or template.shape[1] > width + 1 or min(template.shape) < _SHORTEST:
        return -1.0
    found = cv2.matchTemplate(outer, template[:height, :width], cv2.TM_CCOEFF_NORMED)
    return float(np.max(found, where=np.isfinite(found), initial=-1.0))


def _scaled(grey: npt.NDArray[Any], scale: float) -> Grey:
    import cv2

    height, width = (max(1, round(side * scale)) for side in grey.shape)
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
