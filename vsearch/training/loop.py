"""The training loop: Adam on the mean squared error, batch after batch from the segments.

A batch goes through the network a few photos at a time, and their gradients are added up before the step:
the same step as for the whole batch (there is no batch normalisation), while the memory is that of a few
photos; at 600 x 600 one photo's activations take 0.5 GB.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vsearch.encoders.architectures import Architecture, Models, load_weights
from vsearch.training.batches import Split, in_order, shuffled
from vsearch.training.checkpoints import Checkpoint, Subject
from vsearch.training.devices import pixels_at_once
from vsearch.training.programs import part_sizes, programs, worth_compiling
from vsearch.training.records import Epoch, Options, Outcome, Stop
from vsearch.training.staging import Pixels, Staged


@dataclass(frozen=True, slots=True)
class Step:
    """How far an epoch is: photos seen, of how many."""

    epoch: int
    epochs: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Listener:
    """Told of each batch and of each epoch, and that XLA compiles, before the first one."""

    on_compile: Callable[[], None] = field(default=lambda: None)
    on_step: Callable[[Step], None] = field(default=lambda step: None)
    on_epoch: Callable[[Epoch], None] = field(default=lambda epoch: None)


class Diverged(Exception):
    """The loss is no longer a number."""


class Trainer:
    """Trains one autoencoder.

    Args:
        models: of ``architecture``; their weights are trained.
        options: how.
    """

    def __init__(self, architecture: Architecture, models: Models, options: Options) -> None:
        import keras

        self.architecture = architecture
        self.models = models
        self.options = options
        self.optimizer = keras.optimizers.Adam(options.learning_rate)
        self.optimizer.build(models.autoencoder.trainable_variables)
        self._at_once = max(1, pixels_at_once() // architecture.input_size**2)
        self._zeros = [keras.ops.zeros(v.shape) for v in models.autoencoder.trainable_variables]
        self._loss, self._gradients, self._apply = programs(models.autoencoder, self.optimizer)

    def step(self, pixels: Pixels) -> float:
        """One step on a batch, uint8 [b, S, S, 3]; its mean squared error before the step.

        Raises:
            Diverged: the loss is NaN or infinite; the weights are as they were.
        """
        total, gradients = 0.0, self._zeros
        for part in self._parts(pixels):
            loss, gradients = self._gradients(part, gradients)
            total += float(loss)
        if not math.isfinite(total):
            raise Diverged
        self._apply(gradients, float(len(pixels)))
        return total / len(pixels)

    def loss(self, pixels: Pixels) -> float:
        """The mean squared error on a batch."""
        return sum(float(self._loss(part)) for part in self._parts(pixels)) / len(pixels)

    def run(
        self, staged: Staged, split: Split, checkpoint: Checkpoint, listener: Listener, *, resume: bool
    ) -> Outcome:
        """Train until the last epoch, or until there is a reason to stop; the best weights are loaded then.

        Ctrl-C ends it after the last finished epoch.

        Raises:
            KeyboardInterrupt, Diverged: before any epoch was finished.
            UsageError, EncoderError: the checkpoint cannot be resumed.
        """
        subject = Subject.of(self.architecture.name, self.options, staged)
        epochs = self._resumed(checkpoint, subject) if resume else []
        resumed = len(epochs)
        if not resume:
            checkpoint.clear()
        stopped: Stop = "finished"
        try:
            if resumed < self.options.epochs and not self._is_stale(epochs):
                self._compile(split, listener)
            for number in range(len(epochs) + 1, self.options.epochs + 1):
                if self._is_stale(epochs):
                    stopped = "patience"
                    break
                epochs.append(self._epoch(number, staged, split, listener))
                checkpoint.save(subject, epochs, self.models.autoencoder, self.optimizer)
                listener.on_epoch(epochs[-1])
        except (KeyboardInterrupt, Diverged) as error:
            epochs = checkpoint.load(subject) if checkpoint.exists else []
            if not epochs:
                raise
            stopped = "nan" if isinstance(error, Diverged) else "interrupted"
        outcome = Outcome(epochs, stopped, resumed)
        load_weights(self.models, self.architecture, checkpoint.weights(outcome.best.number))
        return outcome

    def _compile(self, split: Split, listener: Listener) -> None:
        """Have XLA compile what pays, beforehand: the times of epochs are theirs alone.

        All epochs count, done or not: a training that goes on computes as it did before.
        """
        epochs, batch_size = self.options.epochs, self.options.batch_size
        training, validation = (
            worth_compiling(self.architecture, len(photos), epochs, batch_size, self._at_once)
            for photos in (split.training, split.validation)
        )
        if training or validation:
            listener.on_compile()
        self._gradients.compile(training, self._zeros)
        self._loss.compile(validation)

    def _resumed(self, checkpoint: Checkpoint, subject: Subject) -> list[Epoch]:
        epochs = checkpoint.load(subject)
        load_weights(self.models, self.architecture, checkpoint.weights(epochs[-1].number))
        checkpoint.load_optimizer(epochs[-1].number, self.optimizer)
        return epochs

    def _is_stale(self, epochs: list[Epoch]) -> bool:
        patience = self.options.patience
        return bool(patience and epochs and len(epochs) - Outcome(epochs, "finished").best.number >= patience)

    def _epoch(self, number: int, staged: Staged, split: Split, listener: Listener) -> Epoch:
        started = time.monotonic()
        seed, batch_size = (self.options.seed, number), self.options.batch_size
        done, total = 0, 0.0
        for batch in shuffled(staged, split.training, batch_size, seed):
            total += self.step(batch) * len(batch)
            done += len(batch)
            listener.on_step(Step(number, self.options.epochs, done, len(split.training)))
        held_out = self._mean_loss(in_order(staged, split.validation, batch_size))
        return Epoch(number, total / done, held_out, round(time.monotonic() - started, 3))

    def _mean_loss(self, batches: Iterator[Pixels]) -> float:
        count, total = 0, 0.0
        for batch in batches:
            total += self.loss(batch) * len(batch)
            count += len(batch)
        if not math.isfinite(total):
            raise Diverged
        return total / count

    def _parts(self, pixels: Pixels) -> Iterator[Pixels]:
        start = 0
        for size in part_sizes(len(pixels), self._at_once):
            yield pixels[start : start + size]
            start += size
