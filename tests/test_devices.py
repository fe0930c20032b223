"""--device: which providers and GPUs are chosen, what is said without one, that one gives the same."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import vsearch
from tests.conftest import Run
from vsearch.encoders import Encoder, devices, resolve
from vsearch.encoders.devices import CPU, CUDA
from vsearch.errors import EncoderError, UsageError
from vsearch.ingest import GPU_BATCH, batch_of, gpu_batch_of
from vsearch.training.devices import PIXELS_AT_ONCE, chosen, fitting

WITHOUT = pytest.mark.skipif(
    CUDA in onnxruntime.get_available_providers(), reason="for an ONNX Runtime without CUDA"
)

WITH = pytest.mark.skipif(
    CUDA not in onnxruntime.get_available_providers(), reason="for an ONNX Runtime with CUDA, and a GPU"
)


def test_cuda_is_taken_where_it_is_offered_and_never_unasked_for_cpu() -> None:
    offered = ["TensorrtExecutionProvider", CUDA, CPU]
    assert devices.providers("auto", offered) == [CUDA, CPU]
    assert devices.providers("cuda", offered) == [CUDA, CPU]
    assert devices.providers("cpu", offered) == [CPU]
    assert devices.providers("auto", ["AzureExecutionProvider", CPU]) == [CPU]
    with pytest.raises(UsageError, match=r"offers Azure, CPU here; .*onnxruntime-gpu"):
        devices.providers("cuda", ["AzureExecutionProvider", CPU])


def test_a_session_that_fell_back_is_an_error_only_if_cuda_was_asked_for() -> None:
    assert devices.taken("auto", [CUDA, CPU]) == "cuda"
    assert devices.taken("auto", [CPU]) == "cpu"
    with pytest.raises(EncoderError, match="nvidia-smi"):
        devices.taken("cuda", [CPU])


def test_keras_takes_the_first_gpu() -> None:
    assert chosen("auto", ["a", "b"]) == ["a"] == chosen("cuda", ["a", "b"])
    assert chosen("cpu", ["a"]) == [] == chosen("auto", [])
    with pytest.raises(UsageError, match="and-cuda"):
        chosen("cuda", [])


def test_batches_grow_with_free_memory_and_never_shrink() -> None:
    sizes = [gpu_batch_of(260, gib * 2**30, 3) for gib in (0, 1, 4, 16, 80)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (batch_of(260), GPU_BATCH)
    assert (fitting(0), fitting(80 * 2**30) > PIXELS_AT_ONCE) == (PIXELS_AT_ONCE, True)


@pytest.mark.parametrize(
    ("answer", "expected"), [("echo 8123", 8123 * 2**20), ("echo '[N/A]'", None), ("exit 9", None)]
)
def test_free_memory_is_what_nvidia_smi_says(
    answer: str, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{answer}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert devices.free_gpu_bytes() == expected
    assert "--id=2" in (tmp_path / "asked").read_text()


def test_without_nvidia_smi_free_memory_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.free_gpu_bytes() is None


@WITHOUT
def test_auto_falls_back_to_the_cpu(toy_encoder: Path, photos: Path, tmp_path: Path) -> None:
    assert Encoder(resolve(toy_encoder)).device == "cpu"
    index = vsearch.Index.create(tmp_path / "index", encoder=toy_encoder, device="auto")
    assert index.add(photos).added == 12
    assert vsearch.Index.open(index.path, device="cpu").query(photos / "day0/photo000.png", k=1)


@WITHOUT
@pytest.mark.parametrize("verb", ["build-index", "add", "sync", "query", "reencode", "train", "evaluate"])
def test_cuda_that_is_not_there_is_one_line(
    verb: str, command: Run, index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    arguments = {
        "build-index": [photos, "--index", tmp_path / "none"],
        "query": [photos / "day0/photo000.png", "--index", index.path],
        "sync": ["--index", index.path],
        "reencode": ["--encoder", "photo-small", "--index", index.path],
        "train": [photos, "--encoder", "compact"],
        "evaluate": [photos, "--self"],
    }.get(verb, [photos, "--index", index.path])
    done = command(verb, *arguments, "--device", "cuda")
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert "or leave --device out" in line and "pip install" in line
    assert not (tmp_path / "none").exists()


def test_another_device_is_refused(command: Run, index: vsearch.Index, photos: Path) -> None:
    done = command("query", photos / "day0/photo000.png", "--index", index.path, "--device", "tpu")
    assert done.returncode == 2
    assert b"device must be one of auto, cpu, cuda; received 'tpu'" in done.stderr


@WITH
@pytest.mark.parametrize("name", ["photo", "photo-small"])
def test_a_gpu_gives_the_vectors_of_the_cpu(name: str) -> None:
    size = resolve(name).specification.input_size
    pixels = np.random.default_rng(3).integers(0, 256, (GPU_BATCH, size, size, 3), np.uint8)
    on_gpu, on_cpu = (Encoder(resolve(name), device) for device in ("cuda", "cpu"))
    assert (on_gpu.device, on_cpu.device) == ("cuda", "cpu")
    assert np.einsum("nd,nd->n", on_gpu.encode(pixels), on_cpu.encode(pixels)).min() > 0.99


@WITH
def test_an_index_made_on_a_gpu_answers_on_both(photos: Path, tmp_path: Path, command: Run) -> None:
    place = ("--index", tmp_path / "made.vsearch")
    built = command("build-index", photos, *place, "--device", "cuda")
    assert built.returncode == 0, built.stderr
    for device in ("cuda", "cpu"):
        found = command("query", photos / "day0/photo000.png", *place, "--device", device, "--json")
        assert json.loads(found.stdout.splitlines()[0])["kind"] == "identical"
