"""Chooses the backend that steps a model here: our CPU kernel wherever it runs, else transformers' own modules.

Runs once on each rank, before anything is loaded. Knows no weights, only the checkpoint's configuration.
"""

import dataclasses
import shutil

import torch

from calmops.engine.backends.kernel import KernelBackend
from calmops.engine.backends.protocol import Backend
from calmops.engine.backends.transformers import TransformersBackend
from calmops.engine.checkpoint import load_config
from calmops.engine.kernel import best_path, unsupported_reason
from calmops.engine.settings import EngineSettings
from calmops.foundation.errors import UnsupportedModel

EXACT_DEVICES: tuple[str, ...] = ("cpu",)  # devices on which exact was shown to hold


def choose_backend(settings: EngineSettings) -> tuple[EngineSettings, str | None]:
    """Return the settings with ``backend`` and ``exact`` decided, and why the kernel isn't the backend, if it isn't.

    Raises UnsupportedModel if the settings ask for what can't be had.
    """
    reason = _no_kernel_reason(settings)
    if reason is None and settings.backend != "transformers":
        return dataclasses.replace(settings, backend="kernel", exact=True), None
    if settings.backend == "kernel" or settings.quantize:
        setting = "backend: kernel" if settings.backend == "kernel" else f"quantize: {settings.quantize}"
        raise UnsupportedModel(
            f"{setting} can't be had: {reason or 'backend is transformers'}; leave it out, or set backend to auto"
        )
    if settings.exact and settings.device not in EXACT_DEVICES:
        raise UnsupportedModel(
            f"exact hasn't been shown to hold on {settings.device}, only on {', '.join(EXACT_DEVICES)}: "
            "set exact to false"
        )
    return dataclasses.replace(settings, backend="transformers", exact=bool(settings.exact)), reason


def make_backend(settings: EngineSettings, rank: int = 0) -> Backend:
    """Load this rank's backend, by settings from ``choose_backend``. Raises ReleaseError or UnsupportedModel."""
    if settings.backend == "kernel":
        return KernelBackend(settings, rank)
    return _cuda_backend(settings, rank) if settings.device == "cuda" else TransformersBackend(settings, rank)


def _cuda_backend(settings: EngineSettings, rank: int) -> Backend:
    if not torch.cuda.is_available():
        raise UnsupportedModel(
            "device is cuda, and this process sees no GPU: set device to cpu, or give the gang a GPU"
        )
    try:
        from calmops.engine.backends.cuda import CudaBackend
    except ModuleNotFoundError as error:
        raise UnsupportedModel(
            f"a GPU's attention needs Triton, which comes with torch's CUDA builds: {error}"
        ) from error
    return CudaBackend(settings, rank)


def code_path() -> str:
    """Name the instructions that the kernel uses here, which are part of what decides a token's bits."""
    return best_path() or "none"


def _no_kernel_reason(settings: EngineSettings) -> str | None:
    if settings.device != "cpu":
        return "the model runs on a GPU"
    if best_path() is None:
        return "this processor has no AVX2"
    if shutil.which("g++") is None:
        return "there is no g++ to compile the kernel with (Debian: apt install g++)"
    return unsupported_reason(load_config(settings))
