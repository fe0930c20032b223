"""The pictures beside a trained bundle: the loss curve, and photos with what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vsearch.training.records import Epoch

Pixels = npt.NDArray[np.uint8]
_TILE = 160
_GAP = 6


def draw_losses(epochs: Sequence[Epoch], title: str, path: Path) -> None:
    """Training and validation loss by epoch, as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    axes = figure.subplots()
    numbers = [epoch.number for epoch in epochs]
    axes.plot(numbers, [epoch.loss for epoch in epochs], "o-", label="training")
    axes.plot(numbers, [epoch.validation_loss for epoch in epochs], "s--", label="validation")
    axes.set(xlabel="epoch", ylabel="mean squared error", title=title)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def draw_reconstructions(originals: Pixels, rebuilt: Pixels, path: Path) -> None:
    """Originals above, decoded below, as PNG; both uint8 [N, S, S, 3]."""
    step = _TILE + _GAP
    sheet = Image.new("RGB", (step * len(originals) + _GAP, 2 * step + _GAP), "white")
    for row, pictures in enumerate((originals, rebuilt)):
        for column, picture in enumerate(pictures):
            tile = Image.fromarray(picture).resize((_TILE, _TILE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (_GAP + column * step, _GAP + row * step))
    sheet.save(path)
