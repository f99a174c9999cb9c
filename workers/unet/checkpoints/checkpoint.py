"""A checkpoint: the state of a loop, what the receipt will say of its steps, and for whom it is good.

As bytes it is a frame of the residual transport (`workers.transport.wire`): this header, then the tensors.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor

from shared.jobs.options import MAX_CONTROLNETS, MAX_LORAS
from shared.jobs.receipt import ControlNetReceipt, LoraReceipt, WorkerReceipt
from shared.message_base import MAX_IMAGES, MAX_STEPS, Sha256, Step, StrictMessage, first_reason, read_stored
from workers.devices.base import Device
from workers.transport.wire import InvalidFrame, pack_bytes, unpack_bytes
from workers.unet.checkpoints.loop_state import LoopState
from workers.unet.checkpoints.scheduler_state import Value
from workers.unet.checkpoints.tensors import TensorCopies, TensorLayout, unpack_tensors

#: A worker continues only what a worker of the same format has stored.
FORMAT = 1


class StepsSoFar(StrictMessage):
    """What the receipt says of the steps that are done."""

    loras: list[LoraReceipt] = Field([], max_length=MAX_LORAS, description="those in effect")
    controlnets: list[ControlNetReceipt] = Field(
        [], max_length=MAX_CONTROLNETS, description="in the job's order; empty: no step is done"
    )
    split_steps: list[Step] = Field([], max_length=2 * MAX_STEPS)
    cfg_follower: WorkerReceipt | None = None
    continued_at: list[Step] = Field([], max_length=2 * MAX_STEPS)


class Basis(StrictMessage):
    """What must be equal for another worker to continue with the same bits."""

    worker: WorkerReceipt
    model_sha256: Sha256
    request: Sha256 = Field(
        description="digest of the job, its scheduler config, the model's other configs, switches"
    )


class CheckpointHeader(StrictMessage):
    """What is known of a checkpoint before its tensors are read."""

    format: int = FORMAT
    basis: Basis
    so_far: StepsSoFar
    step: Step
    latents: int = Field(ge=0, description="number of a tensor, as are others in here")
    generators: list[int] = Field(max_length=MAX_IMAGES)
    scheduler: dict[str, Any] = Field(
        description='JSON, a tensor in it is {"tensor": number}, a shape {"size": [...]}'
    )
    tensors: list[TensorLayout] = Field(max_length=1 << 12)

    @field_validator("format")
    @classmethod
    def _is_known(cls, value: int) -> int:
        if value != FORMAT:
            raise ValueError(f"a checkpoint of format {value}; this worker reads {FORMAT}")
        return value


class CheckpointCopy:
    """A checkpoint on its way to the host's memory: made between two steps, packed in another thread."""

    def __init__(self, state: LoopState, basis: Basis, so_far: StepsSoFar, device: Device) -> None:
        self.step = state.step
        self._basis, self._so_far = basis, so_far
        self._copies = TensorCopies(device)
        self._latents = self._copies.add(state.latents)
        self._scheduler = {name: self._described(value) for name, value in state.scheduler.items()}
        self._generators = [self._copies.add(generator) for generator in state.generators]

    @property
    def size_bytes(self) -> int:
        """Of the tensors, which are nearly all of it."""
        return self._copies.size_bytes

    def wait(self) -> None:
        """Wait until all tensors are in the host's memory."""
        self._copies.wait()

    def is_finite(self) -> bool:
        """Whether the latents are; waits for them."""
        return bool(self._copies.wait()[self._latents].isfinite().all())

    def pack(self) -> bytes:
        """As bytes; waits for the copies."""
        layouts, data = self._copies.pack()
        header = CheckpointHeader(
            basis=self._basis,
            so_far=self._so_far,
            step=self.step,
            latents=self._latents,
            generators=self._generators,
            scheduler=self._scheduler,
            tensors=layouts,
        )
        return pack_bytes(header.model_dump(mode="json"), data)

    def _described(self, value: Value) -> Any:
        if isinstance(value, Tensor):
            return {"tensor": self._copies.add(value)}
        if isinstance(value, torch.Size):
            return {"size": list(value)}
        return [self._described(one) for one in value] if isinstance(value, list) else value


class Checkpoint:
    """A stored checkpoint, its header read and checked."""

    def __init__(self, frame: bytes) -> None:
        """Raises `ValueError` for what this version has not written."""
        try:
            header, self._data = unpack_bytes(frame)
            self.header = read_stored(CheckpointHeader, header)
        except (InvalidFrame, RecursionError) as error:
            raise ValueError(first_reason(error)) from None

    def state(self, device: Device) -> LoopState:
        """The loop's state, its tensors where they lay; raises `ValueError`."""
        header = self.header
        tensors = unpack_tensors(header.tensors, self._data, device)
        try:
            return LoopState(
                step=header.step,
                latents=tensors[header.latents],
                scheduler={name: _read(value, tensors) for name, value in header.scheduler.items()},
                generators=[tensors[number] for number in header.generators],
            )
        except (LookupError, TypeError, RecursionError) as error:
            raise ValueError(f"its header does not fit its tensors: {error}") from None


def _read(value: Any, tensors: Sequence[Tensor]) -> Value:
    if isinstance(value, dict):
        return torch.Size(value["size"]) if "size" in value else tensors[value["tensor"]]
    return [_read(one, tensors) for one in value] if isinstance(value, list) else value
