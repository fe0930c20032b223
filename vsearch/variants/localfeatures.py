"""Local features: whether one picture is a part of another, and which.

SIFT keypoints (Lowe 2004) of both pictures are matched, and RANSAC fits a similarity transform (shift, scale,
turn) to the matches.  Scenes that merely look alike have matches too, so the transform must pass a second
test: the pictures, laid on each other by it, agree block by block (:mod:`vsearch.variants.agreement`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vsearch.records import Region
from vsearch.variants import agreement

Grey = npt.NDArray[np.uint8]

# Found on pictures of this size: half the time of the thumbnails' own 256 pixels, and as many right answers.
_LONGEST = 192
_KEYPOINTS = 150
_LOWE_RATIO = 0.8
_RANSAC_PIXELS = 3.0
_RANSAC_SEED = 1
_MIN_MATCHES = 6
_BLOCK = 16


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """A picture made ready: grey uint8 [h, w], keypoints float32 [n, 2], descriptors uint8 [n, 128]."""

    grey: Grey
    points: npt.NDArray[np.float32]
    descriptors: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Fit:
    """How one picture lies on another.

    Attributes:
        inliers: matches that the transform explains.
        share: textured blocks of the overlap that agree, 0 to 1.
        blocks: textured blocks of the overlap.
        overlap: area of the overlap as a part of the smaller picture, both at the same scale.
        region: the overlap within the second picture.
    """

    inliers: int
    share: float
    blocks: int
    overlap: float
    region: Region


def available() -> bool:
    """Whether OpenCV is installed."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        return False
    return True


def features(jpeg: bytes) -> Features | None:
    """Keypoints of an encoded picture; ``None`` when it cannot be decoded."""
    import cv2

    grey: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        return None
    scale = min(1.0, _LONGEST / max(grey.shape))
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    points, descriptors = _detector().detectAndCompute(small, None)
    if descriptors is None:
        return Features(grey, np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    places = np.array([p.pt for p in points], np.float32) / np.float32(scale)
    return Features(grey, places, descriptors.astype(np.uint8))


def fit(a: Features, b: Features) -> Fit | None:
    """How ``a`` lies on ``b``, or ``None`` when no transform explains enough matches."""
    import cv2

    pairs = _matches(a, b)
    if len(pairs) < _MIN_MATCHES:
        return None
    cv2.setRNGSeed(_RANSAC_SEED)
    matrix: Any
    matrix, inliers = cv2.estimateAffinePartial2D(
        a.points[pairs[:, 0]], b.points[pairs[:, 1]], ransacReprojThreshold=_RANSAC_PIXELS, maxIters=500
    )
    if matrix is None or int(inliers.sum()) < _MIN_MATCHES:
        return None
    return _judged(a, b, matrix, int(inliers.sum()))


def _detector() -> Any:
    import cv2

    opencv: Any = cv2  # its stubs lack SIFT
    return opencv.SIFT_create(nfeatures=_KEYPOINTS, contrastThreshold=0.02)


def _matches(a: Features, b: Features) -> npt.NDArray[np.intp]:
    """Pairs [m, 2] of keypoints that are each other's nearest and pass Lowe's ratio test."""
    if len(a.points) < _MIN_MATCHES or len(b.points) < _MIN_MATCHES:
        return np.zeros((0, 2), np.intp)
    left, right = a.descriptors.astype(np.float32), b.descriptors.astype(np.float32)
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None]
    distances = squares - 2 * (left @ right.T)
    nearest = distances.argmin(axis=1)
    two = np.partition(distances, 1, axis=1)[:, :2]
    good = two[:, 0] < _LOWE_RATIO**2 * two[:, 1]
    mutual = distances.argmin(axis=0)[nearest] == np.arange(len(a.points))
    rows = np.flatnonzero(good & mutual)
    return np.stack([rows, nearest[rows]], axis=1)


def _judged(a: Features, b: Features, matrix: npt.NDArray[np.float64], inliers: int) -> Fit | None:
    import cv2

    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    covered = _laid(np.full(a.grey.shape, 255, np.uint8), matrix, b.grey.shape) == 255
    if not 0.2 < scale < 5 or not covered.any():
        return None
    # Compared where the scene is larger: shrunk far enough, all statues look alike.
    if scale >= 1:
        found = _compared(a.grey, b.grey, matrix)
    else:
        found = _compared(b.grey, a.grey, cv2.invertAffineTransform(matrix))
    smaller = min(a.grey.size * scale**2, b.grey.size)
    h, w = b.grey.shape
    ys, xs = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    box = (xs[0] / w, ys[0] / h, (xs[-1] + 1 - xs[0]) / w, (ys[-1] + 1 - ys[0]) / h)
    region = Region(*map(float, box))
    return Fit(inliers, found.share, found.textured, float(covered.sum()) / smaller, region)


def _compared(small: Grey, large: Grey, matrix: Any) -> agreement.Agreement:
    """The agreement of ``small``, enlarged by ``matrix``, with ``large``."""
    covered = _laid(np.full(small.shape, 255, np.uint8), matrix, large.shape) == 255
    return agreement.compare(_laid(small, matrix, large.shape), large, covered, _BLOCK)


def _laid(grey: Grey, matrix: Any, shape: tuple[int, ...]) -> Grey:
    import cv2

    laid: Any = cv2.warpAffine(grey, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)
    return np.asarray(laid, np.uint8)
