"""What a training is asked to do, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from vsearch.encoders.architectures import Pooling
from vsearch.errors import UsageError

Precision = Literal["auto", "float32", "int8"]
Stop = Literal["finished", "interrupted", "patience", "nan"]


@dataclass(frozen=True, slots=True)
class VectorKind:
    """How a latent becomes a vector: pooled, then projected to ``components`` numbers (0: not at all)."""

    pooling: Pooling = "flat"
    components: int = 0

    @classmethod
    def parse(cls, text: str) -> VectorKind:
        """
        >>> VectorKind.parse("pca:256")
        VectorKind(pooling='flat', components=256)
        """
        if text in get_args(Pooling):
            return cls("flat" if text == "flat" else "mean")
        found = re.fullmatch(r"pca:([1-9]\d{0,4})", text)
        if found is None:
            raise UsageError(
                f"--vector must be flat, mean or pca:N with N from 1 to 99999; received {text!r}"
            )
        return cls("flat", int(found[1]))

    def __str__(self) -> str:
        return f"pca:{self.components}" if self.components else self.pooling


@dataclass(frozen=True, slots=True)
class Options:
    """How to train.

    Attributes:
        epochs: how many in all, those before a resume included.
        batch_size: photos a step.
        learning_rate: of Adam.
        validation_split: part of the photos that is held out, 0 < f < 1.
        seed: of the split, the first weights and the order of photos.
        patience: stop after this many epochs without a lower validation loss; 0: never.
        vector: how a latent becomes a vector.
        precision: of the exported graph; ``auto`` takes int8 where it is faster and ranks alike.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    validation_split: float = 0.25
    seed: int = 0
    patience: int = 0
    vector: VectorKind = VectorKind()
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more; received {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(f"the learning rate must be above 0; received {self.learning_rate}")
        if not 0 < self.validation_split < 1:
            raise UsageError(
                f"the validation split must be between 0 and 1; received {self.validation_split}"
            )
        if self.patience < 0 or self.seed < 0:
            raise UsageError("patience and seed must be 0 or more")
        if self.precision not in get_args(Precision):
            raise UsageError(
                f"precision must be one of {', '.join(get_args(Precision))}; received {self.precision!r}"
            )

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the training record."""
        return asdict(self) | {"vector": str(self.vector)}


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training photos; losses are mean squared errors on pixels in 0..1."""

    number: int
    loss: float
    validation_loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far training came.

    Attributes:
        epochs: all that are finished.
        stopped: why there are no more.
        resumed: how many of them earlier runs had finished.
    """

    epochs: Sequence[Epoch]
    stopped: Stop
    resumed: int = 0

    @property
    def best(self) -> Epoch:
        """The epoch with the lowest validation loss; its weights are kept."""
        return min(self.epochs, key=lambda epoch: epoch.validation_loss)


@dataclass(frozen=True, slots=True)
class PrecisionTrial:
    """int8 against float32 on held-out photos: overlap of the five nearest, and times as fast."""

    overlap_at_5: float
    speedup: float
    photos: int


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        bundle: the bundle's folder.
        dimension: length of its vectors.
        precision: of its graph.
        trial: how int8 compared; ``None`` if it was not tried.
        skipped: how many photos could not be read.
    """

    bundle: str
    architecture: str
    photos: int
    skipped: int
    outcome: Outcome
    dimension: int
    precision: str
    trial: PrecisionTrial | None

    def as_json(self) -> dict[str, Any]:
        """The object that ``train --json`` prints."""
        best = self.outcome.best
        return {
            "bundle": self.bundle,
            "architecture": self.architecture,
            "photos": self.photos,
            "skipped": self.skipped,
            "epochs": len(self.outcome.epochs),
            "stopped": self.outcome.stopped,
            "best_epoch": best.number,
            "loss": best.loss,
            "validation_loss": best.validation_loss,
            "seconds": round(sum(epoch.seconds for epoch in self.outcome.epochs), 3),
            "dimension": self.dimension,
            "precision": self.precision,
            "int8_trial": asdict(self.trial) if self.trial else None,
        }
