"""Checkpoints: what a training needs to go on after its last finished epoch.

Beside the bundle ``pet160.encoder`` lies ``pet160.encoder.training``:

    state.json              what is trained, on what, and the epochs so far; written last
    000003.weights.h5       weights after epoch 3
    000003.optimizer.npz    Adam's moments
    (000002.weights.h5)     the best epoch's weights, where that is another one
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from vsearch import durable
from vsearch.errors import EncoderError, UsageError
from vsearch.training.records import Epoch, Options, Outcome
from vsearch.training.staging import Staged

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Subject:
    """What must be the same for a training to go on: architecture, options that steer it, and photos.

    Attributes:
        photos: how many.
        contents: their :meth:`Staged.digest`; empty in checkpoints of vsearch before it was kept, which go on
            with any photos of that number.
    """

    architecture: str
    batch_size: int
    learning_rate: float
    validation_split: float
    seed: int
    photos: int
    contents: str = ""

    @classmethod
    def of(cls, architecture: str, options: Options, staged: Staged) -> Subject:
        """The subject of a training with these options."""
        return cls(
            architecture,
            options.batch_size,
            options.learning_rate,
            options.validation_split,
            options.seed,
            len(staged.rows),
            staged.digest(),
        )

    def refuse_other(self, found: Subject, folder: Path) -> None:
        """Refuse to go on from the checkpoint of ``found`` in ``folder``.

        Raises:
            UsageError: it is of another training.
        """
        for name in (field.name for field in fields(self) if field.name != "contents"):
            before, now = getattr(found, name), getattr(self, name)
            if before != now:
                raise UsageError(
                    f"{folder} was trained with {name.replace('_', ' ')} {before}, not {now}; resume with "
                    "the same, or leave --resume out and choose another -o"
                )
        if found.contents not in ("", self.contents):
            raise UsageError(
                f"{folder} was trained on other photos than these {self.photos:,}; resume with the same, or "
                "leave --resume out and choose another -o"
            )


class Checkpoint:
    """The checkpoint folder of one bundle.

    Args:
        output: where the bundle goes.
    """

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(f"{output.name}.training")
        self._state = self.folder / "state.json"

    @property
    def exists(self) -> bool:
        """Whether an epoch was ever finished."""
        return self._state.is_file()

    def clear(self) -> None:
        """Start anew."""
        durable.remove(self.folder)
        with durable.storage_errors(self.folder):
            self.folder.mkdir(parents=True)

    def weights(self, epoch: int) -> Path:
        """The file with the weights after ``epoch``."""
        return self.folder / f"{epoch:06d}.weights.h5"

    def save(self, subject: Subject, epochs: list[Epoch], model: Any, optimizer: Any) -> None:
        """Write the state after the last of ``epochs``, then drop what is neither last nor best."""
        last, best = epochs[-1].number, Outcome(epochs, "finished").best.number
        moments = {f"{n:06d}": np.asarray(value) for n, value in enumerate(optimizer.variables)}
        with durable.storage_errors(self.folder):
            model.save_weights(self.weights(last))
            np.savez(self._optimizer(last), **moments)  # type: ignore[arg-type]
        state = {
            "format_version": FORMAT_VERSION,
            "subject": asdict(subject),
            "epochs": [asdict(epoch) for epoch in epochs],
        }
        durable.write_atomic(self._state, json.dumps(state, indent=2).encode())
        keep = {self.weights(last), self.weights(best), self._optimizer(last), self._state}
        for old in set(self.folder.iterdir()) - keep:
            durable.remove(old)

    def load(self, subject: Subject) -> list[Epoch]:
        """The epochs so far.

        Raises:
            UsageError: there is no checkpoint, or it is of another training or of other photos.
            EncoderError: it cannot be read.
        """
        if not self.exists:
            raise UsageError(f"{self.folder} holds no finished epoch; leave --resume out to begin")
        try:
            state = json.loads(self._state.read_bytes())
            found = Subject(**state["subject"])
            epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EncoderError(
                f"{self._state} cannot be read: {error}; remove {self.folder} and train anew"
            ) from error
        subject.refuse_other(found, self.folder)
        return epochs

    def load_optimizer(self, epoch: int, optimizer: Any) -> None:
        """Put Adam's moments after ``epoch`` back."""
        path = self._optimizer(epoch)
        try:
            with np.load(path, allow_pickle=False) as saved:
                for name, variable in zip(sorted(saved.files), optimizer.variables, strict=True):
                    variable.assign(saved[name])
        except (OSError, ValueError) as error:
            raise EncoderError(f"{path} cannot be read: {error}; train anew without --resume") from error

    def _optimizer(self, epoch: int) -> Path:
        return self.folder / f"{epoch:06d}.optimizer.npz"
