"""Where graphs run: the providers of ONNX Runtime, and how much memory an NVIDIA GPU has free.

Nothing here needs a GPU, or a package for one, to be asked.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import get_args

from vsearch.errors import EncoderError, UsageError
from vsearch.records import Device

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_INSTALL = (
    "with an NVIDIA GPU and its driver, `pip uninstall onnxruntime` and "
    "`pip install 'onnxruntime-gpu[cuda,cudnn]'`; or leave --device out"
)


def device_named(name: str) -> Device:
    """The device called ``name``.

    >>> device_named("cpu")
    'cpu'

    Raises:
        UsageError: there is none.
    """
    for device in get_args(Device):
        if name == device:
            return device  # type: ignore[no-any-return]
    raise UsageError(f"device must be one of {', '.join(get_args(Device))}; received {name!r}")


def usable(name: str) -> Device:
    """The device called ``name``, if this ONNX Runtime can be asked for it; ``cuda`` alone loads it.

    Raises:
        UsageError: it cannot, or there is no such device.
    """
    device = device_named(name)
    if device == "cuda":
        import onnxruntime

        providers(device, onnxruntime.get_available_providers())
    return device


def providers(device: Device, available: Sequence[str]) -> list[str]:
    """The providers for a session on ``device``, best first.

    >>> providers("auto", [CUDA, CPU])
    ['CUDAExecutionProvider', 'CPUExecutionProvider']
    >>> providers("auto", [CPU]), providers("cpu", [CUDA, CPU])
    (['CPUExecutionProvider'], ['CPUExecutionProvider'])

    Raises:
        UsageError: ``cuda``, and ``available`` lacks it.
    """
    if device == "cuda" and CUDA not in available:
        found = ", ".join(name.removesuffix("ExecutionProvider") for name in available)
        raise UsageError(f"no CUDA for ONNX Runtime, which offers {found} here; {_INSTALL}")
    return [CUDA, CPU] if device != "cpu" and CUDA in available else [CPU]


def load_libraries() -> None:
    """Load CUDA and cuDNN from NVIDIA's pip packages, which lie on no library path; without them, nothing.

    What it misses it prints; whether CUDA works the session tells (:func:`taken`).
    """
    import onnxruntime

    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


def taken(device: Device, active: Sequence[str]) -> Device:
    """``cuda`` or ``cpu``: what a session runs on, by its own list of providers.

    Raises:
        EncoderError: ``cuda`` was asked for, and ONNX Runtime fell back to the CPU.
    """
    if active and active[0] == CUDA:
        return "cuda"
    if device == "cuda":
        raise EncoderError(
            "ONNX Runtime has CUDA but cannot use it (no GPU, or no driver, CUDA or cuDNN that fits); "
            f"see `nvidia-smi`; {_INSTALL}"
        )
    return "cpu"


def free_gpu_bytes() -> int | None:
    """Free memory of the GPU that programs use first, as ``nvidia-smi`` says; ``None`` where it says nothing.

    ``nvidia-smi`` comes with the driver.  It counts all GPUs, whatever ``CUDA_VISIBLE_DEVICES`` hides, so the
    first that is named there is asked for.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    query = [program, "--query-gpu=memory.free", "--format=csv,noheader,nounits", f"--id={first}"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        return int(done.stdout.split()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
