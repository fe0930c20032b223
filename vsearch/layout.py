"""Where points go on a plane so that near ones stay near: t-SNE, from openTSNE.

UMAP was tried first: umap-learn 0.5.12 imports TensorFlow where it is installed (7-25 s, 1 GB) and compiles
itself with numba in every process (75 s for 10,000 points, 14 s for 400).  openTSNE needs neither: 10,000
clustered points took 21 s on one core, and are placed the same each time.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt

from vsearch.errors import MissingExtraError, install

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_PERPLEXITY = 30.0  # about how many neighbours each point minds
_FEWEST = 4  # fewer have no neighbourhoods
_INTERPOLATED = 1500  # from so many on FFT interpolation (Linderman et al. 2019) beats a tree (Barnes-Hut)
_START = 1e-4  # standard deviation of the first positions, as openTSNE's own have it
_DECIMALS = 5
_TINY = 1e-30
_STEPS = 25  # of 750, between two calls of on_step


def positions(points: Floats, seed: int = 0, on_step: Callable[[], None] | None = None) -> Floats:
    """Positions in 0..1 of points, float32 [N, d] -> [N, 2]; the longer side fills the square.

    The same points and seed give the same positions.  t-SNE (van der Maaten & Hinton 2008) starts from the
    first two columns, which should be those of largest variance (Kobak & Berens 2019).  Equal points start a
    little apart, and so come to lie beside one another.  One to three points are put in a row.

    ``on_step`` is called now and then; what it raises ends the work.

    Raises:
        MissingExtraError: openTSNE is not installed.
    """
    openTSNE = _library()
    if len(points) < _FEWEST:
        return _in_a_row(points)
    affinities = openTSNE.affinity.PerplexityBasedNN(
        points, perplexity=min(_PERPLEXITY, (len(points) - 1) / 3), n_jobs=1, random_state=seed
    )
    # Two threads on two busy cores took 66 s in place of 55 for 10,000 points, 24 s in place of 1 for 400.
    tsne = openTSNE.TSNE(
        n_jobs=1,
        random_state=seed,
        negative_gradient_method="fft" if len(points) >= _INTERPOLATED else "bh",
        callbacks=[lambda *_: on_step()] if on_step else None,
        callbacks_every_iters=_STEPS,
        ints_in_interval=2,  # a grid twice as coarse as the default: 20 s in place of 70 s for 10,000 points
    )
    found = tsne.fit(affinities=affinities, initialization=_start(points, seed))
    return _fitted(np.asarray(found, np.float64))


def _library() -> ModuleType:
    try:
        import openTSNE
    except ImportError as error:
        raise MissingExtraError(f"the map needs openTSNE; {install('map')}") from error
    module: ModuleType = openTSNE
    return module


def _in_a_row(points: Floats) -> Floats:
    result = np.full((len(points), 2), 0.5, np.float32)
    if len(points) > 1:
        result[np.argsort(points[:, 0], kind="stable"), 0] = np.linspace(0, 1, len(points))
    return result


def _start(points: Floats, seed: int) -> Doubles:
    start = np.zeros((len(points), 2))
    width = min(2, points.shape[1])
    start[:, :width] = points[:, :width]
    start *= _START / max(float(start[:, 0].std()), _TINY)
    jitter = np.random.default_rng(seed).standard_normal(start.shape)
    result: Doubles = start + 0.01 * _START * jitter
    return result


def _fitted(found: Doubles) -> Floats:
    """Moved and scaled into the unit square, both axes alike, the shorter one centred."""
    low, high = found.min(axis=0), found.max(axis=0)
    extent = max(float((high - low).max()), _TINY)
    scaled = (found - (low + high) / 2) / extent + 0.5
    rounded: Floats = np.round(np.clip(scaled, 0, 1), _DECIMALS).astype(np.float32)
    return rounded
