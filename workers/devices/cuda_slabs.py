"""Slabs on an NVIDIA GPU: plain ``cudaMalloc``, shared by CUDA IPC memory handles.

Torch's allocator is not used: its blocks are parts of larger allocations, and with expandable segments they
have no such handle. The calls are those of ``cuda-bindings``, which torch for CUDA brings along. They have a
CUDA runtime of their own, so an error of theirs is never reported by torch as that of its next kernel.
https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__DEVICE.html (cudaIpc…)
"""

import importlib
import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from workers.devices.cuda_graphs import CAPTURING
from workers.devices.slabs import DeviceSlabs, OwnSlab, Slab, SlabError

log = logging.getLogger(__name__)

#: What is smaller may be a part of a larger block, which would then be shared as a whole: "Interprocess
#: Communication" in the CUDA C++ Programming Guide.
_BLOCK_BYTES = 2 << 20


class _ArrayInterface:
    """What torch reads an address and a size from; it keeps the object as long as the tensor's memory."""

    def __init__(self, address: int, size_bytes: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (size_bytes,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
            "strides": None,
            "stream": None,  # who reads it has waited for it
        }


class CUDASlab(OwnSlab):
    """Memory of this process."""

    def __init__(self, slabs: "CUDASlabs", address: int, handle: bytes, size_bytes: int) -> None:
        self.handle = handle
        self.memory = slabs.view(address, size_bytes)
        self._slabs, self._address = slabs, address

    def close(self) -> None:
        """See `Slab`."""
        self._slabs.forget(self.handle)
        self._slabs.release("cudaFree", self._address)


class CUDAOpenedSlab(Slab):
    """Memory of another process, mapped here."""

    def __init__(self, slabs: "CUDASlabs", address: int, size_bytes: int) -> None:
        self.memory = slabs.view(address, size_bytes)
        self._slabs, self._address = slabs, address

    def close(self) -> None:
        """See `Slab`."""
        self._slabs.release("cudaIpcCloseMemHandle", self._address)


class CUDALentSlab(Slab):
    """Memory of this process, opened here: CUDA opens a handle only in other processes."""

    def __init__(self, own: CUDASlab) -> None:
        self.memory = own.memory
        self._own = own

    def close(self) -> None:
        """See `Slab`: its owner frees it."""


class CUDASlabs(DeviceSlabs):
    """See `DeviceSlabs`; one object for each device of this process."""

    def __init__(self, torch_device: torch.device) -> None:
        """Raises `SlabError` without ``cuda-bindings``."""
        self._device = torch.device("cuda", torch_device.index or 0)
        try:
            # Not there where torch is built for the CPU.
            self._runtime: Any = importlib.import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise SlabError(f"cuda-bindings cannot be imported: {error}") from error
        self.handle_bytes = len(bytes(self._runtime.cudaIpcMemHandle_t().reserved))
        self._lock = threading.Lock()
        self._own: weakref.WeakValueDictionary[bytes, CUDASlab] = weakref.WeakValueDictionary()

    def allocate(self, size_bytes: int) -> CUDASlab | None:
        """See `DeviceSlabs`."""
        runtime = self._runtime
        with self._current():
            error, address = runtime.cudaMalloc(-(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES)
            if error == runtime.cudaError_t.cudaErrorMemoryAllocation:
                runtime.cudaGetLastError()
                return None
            self._check("cudaMalloc", error)
            error, handle = runtime.cudaIpcGetMemHandle(int(address))
        if error != runtime.cudaError_t.cudaSuccess:
            self.release("cudaFree", int(address))
        self._check("cudaIpcGetMemHandle", error)
        slab = CUDASlab(self, int(address), bytes(handle.reserved), size_bytes)
        with self._lock:
            self._own[slab.handle] = slab
        return slab

    def open(self, handle: bytes, size_bytes: int) -> Slab:
        """See `DeviceSlabs`."""
        with self._lock:
            own = self._own.get(handle)
        if own is not None:
            return CUDALentSlab(own)
        runtime = self._runtime
        raw = runtime.cudaIpcMemHandle_t()
        raw.reserved = handle
        with self._current():
            error, address = runtime.cudaIpcOpenMemHandle(raw, runtime.cudaIpcMemLazyEnablePeerAccess)
            self._check("cudaIpcOpenMemHandle", error)
        return CUDAOpenedSlab(self, int(address), size_bytes)

    def forget(self, handle: bytes) -> None:
        """A slab of this process is freed."""
        with self._lock:
            self._own.pop(handle, None)

    @torch.inference_mode(False)  # whoever opens it may be in a job's loop, and others write to it
    def view(self, address: int, size_bytes: int) -> torch.Tensor:
        """The memory at an address as a tensor, not a copy.

        With the device given, torch does not ask where it lies: it may be on a GPU that this process does not
        see, and is reached from this one.
        """
        return torch.as_tensor(_ArrayInterface(address, size_bytes), device=self._device)

    def release(self, function: str, address: int) -> None:
        """Call ``cudaFree`` or ``cudaIpcCloseMemHandle``; a failure is logged."""
        try:
            with self._current():
                (error,) = getattr(self._runtime, function)(address)
                self._check(function, error)
        except SlabError as error:
            log.warning("shared device memory not released", extra={"error": str(error)})

    @contextmanager
    def _current(self) -> Iterator[None]:
        """The device is current for torch's runtime and for that of the bindings, which is another.

        No graph is captured meanwhile: freeing memory waits for the whole device.
        """
        with CAPTURING, torch.cuda.device(self._device):
            (error,) = self._runtime.cudaSetDevice(self._device.index)
            self._check("cudaSetDevice", error)
            yield

    def _check(self, function: str, error: Any) -> None:
        if error != self._runtime.cudaError_t.cudaSuccess:
            self._runtime.cudaGetLastError()  # else a later call would report it
            raise SlabError(f"{function}: {error.name}")
