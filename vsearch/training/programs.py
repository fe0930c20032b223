"""What a part of a batch goes through: the loss, its gradients, the optimizer's step.

XLA makes steps of ``compact`` and ``travel600`` about 1.7 times as fast, but compiles anew for each size of
a part: 8 s for ``compact`` on two idle cores, 20 s for ``travel600``, and several times that beside other
programs.  A training on a few photos is over before.  Hence only the sizes that much of the work is of are
compiled; the others, odd remainders among them, go through a plain graph, which takes any size.  Results
differ by rounding alone.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from vsearch.encoders.architectures import Architecture
from vsearch.training.forward import forward
from vsearch.training.staging import Pixels

# Multiply-adds to encode the photos of one size in all epochs.  XLA saves about 0.2 s of a billion with
# `compact`, at least as much with `travel600`, so that compiling, 8 and 20 s, pays from 40 to 60 billion on.
_PAYS = 50_000_000_000


def worth_compiling(
    architecture: Architecture, photos: int, epochs: int, batch_size: int, at_once: int
) -> set[int]:
    """The sizes of parts that pay for XLA, with so many photos an epoch.

    >>> from vsearch.encoders.architectures import ARCHITECTURES
    >>> compact, travel600 = ARCHITECTURES["compact"], ARCHITECTURES["travel600"]
    >>> worth_compiling(compact, 18, 2, 4, 31), worth_compiling(compact, 318, 6, 10, 31)
    (set(), {10})
    >>> worth_compiling(travel600, 45, 3, 5, 2)
    {1, 2}
    """
    ahead = Counter[int]()
    for start in range(0, photos, batch_size):
        for size in part_sizes(min(batch_size, photos - start), at_once):
            ahead[size] += size * epochs
    return {size for size, count in ahead.items() if count * architecture.multiplications >= _PAYS}


def part_sizes(photos: int, at_once: int) -> list[int]:
    """Sizes of the parts of a batch.

    >>> part_sizes(5, 2)
    [2, 2, 1]
    """
    return [min(at_once, photos - start) for start in range(0, photos, at_once)]


class Program:
    """A function of a part of a batch, and of what else is in its signature.

    Until :meth:`compile` says for which sizes of parts, XLA compiles it for all that come.
    """

    def __init__(self, function: Any, *signature: Any) -> None:
        import tensorflow as tf

        self._shape = signature[0].shape[1:]
        self._sizes: set[int] | None = None
        self._plain = tf.function(function, input_signature=signature)
        self._xla = tf.function(function, jit_compile=True)

    def compile(self, sizes: set[int], *rest: Any) -> None:
        """Compile for parts of these sizes, now; parts of others go through the plain graph from here on."""
        self._sizes = sizes
        if not sizes:
            self._plain.get_concrete_function()  # takes seconds, and is no part of the first epoch
        for size in sizes:
            self(np.zeros((size, *self._shape), np.uint8), *rest)

    def __call__(self, pixels: Pixels, *rest: Any) -> Any:
        """The function's value for ``pixels``, uint8 [n, S, S, 3]."""
        compiled = self._sizes is None or len(pixels) in self._sizes
        return (self._xla if compiled else self._plain)(pixels, *rest)


def programs(model: Any, optimizer: Any) -> tuple[Program, Program, Any]:
    """Sum of the photos' errors; their gradients, added to given ones; the optimizer's step."""
    import tensorflow as tf

    variables = model.trainable_variables

    def errors(pixels: Any) -> Any:
        pictures = tf.cast(pixels, tf.float32) / 255
        difference = forward(model, pictures) - pictures
        return tf.reduce_sum(tf.reduce_mean(tf.square(difference), axis=[1, 2, 3]))

    def gradients(pixels: Any, before: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = errors(pixels)
        new = tape.gradient(loss, variables)
        return loss, [a + b for a, b in zip(before, new, strict=True)]

    def apply(summed: Any, count: Any) -> None:
        optimizer.apply([gradient / count for gradient in summed], variables)

    part = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    sums = [tf.TensorSpec(variable.shape, tf.float32) for variable in variables]
    return Program(errors, part), Program(gradients, part, sums), tf.function(apply, reduce_retracing=True)
