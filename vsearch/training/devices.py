"""Where Keras trains: on a GPU that TensorFlow finds, or on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from vsearch.encoders.devices import free_gpu_bytes
from vsearch.errors import UsageError
from vsearch.quiet import quiet_stderr
from vsearch.records import Device

# Photos that go through the network together: 2 at 600 x 600, 31 at 160 x 160.  travel600 takes 1.8 GB with
# one, 5 GB with five, and trains a quarter faster; two are the compromise (docs/training.md).
PIXELS_AT_ONCE = 800_000
# On the CPU travel600 takes 2.2 kB a pixel more for each photo more; never measured on a GPU.
_BYTES_A_PIXEL = 3000


def import_keras(device: Device) -> Any:
    """Keras on ``device``, without the dozen lines that TensorFlow writes to stderr while it looks for a GPU.

    Raises:
        UsageError: ``cuda``, and TensorFlow finds no GPU; or it runs on something else already.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import keras
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        used = chosen(device, gpus)
        try:
            if used != gpus:
                tf.config.set_visible_devices(used, "GPU")
            for gpu in used:
                tf.config.experimental.set_memory_growth(gpu, True)  # or nothing is left for the export
        except RuntimeError as error:
            raise UsageError(
                "TensorFlow runs on another device in this process; train in a new one"
            ) from error
    return keras


def chosen(device: Device, gpus: Sequence[Any]) -> Sequence[Any]:
    """Those of the GPUs there are that training uses: the first, or none.

    >>> chosen("auto", ["GPU:0", "GPU:1"]), chosen("cpu", ["GPU:0"]), chosen("auto", [])
    (['GPU:0'], [], [])

    Raises:
        UsageError: ``cuda``, and there is none.
    """
    if device == "cuda" and not gpus:
        raise UsageError(
            "TensorFlow finds no GPU here, only the CPU; with an NVIDIA GPU and its driver, "
            "`pip install 'tensorflow[and-cuda]'`; or leave --device out"
        )
    return [] if device == "cpu" else gpus[:1]


def pixels_at_once() -> int:
    """How many pixels go through the network together where Keras trains now: more in a GPU with free memory.

    Gradients of the parts of a batch are added up, so that this changes the time and not the result.
    """
    import tensorflow as tf

    free = free_gpu_bytes() if tf.config.get_visible_devices("GPU") else None
    return PIXELS_AT_ONCE if free is None else fitting(free)


def fitting(free_bytes: int) -> int:
    """The same for a GPU with ``free_bytes``; half of them are left alone.

    >>> fitting(24 * 2**30), fitting(2**30)
    (4294967, 800000)
    """
    return max(PIXELS_AT_ONCE, free_bytes // 2 // _BYTES_A_PIXEL)
