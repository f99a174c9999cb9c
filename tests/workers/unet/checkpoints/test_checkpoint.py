"""A checkpoint as bytes: what is malformed, or of another version, is refused with a reason."""

import json

import pytest
import torch

from shared.jobs.receipt import ControlNetReceipt, LoraReceipt, WorkerReceipt
from workers.devices.selection import find_device
from workers.transport.wire import pack_bytes, unpack_bytes
from workers.unet.checkpoints.checkpoint import Basis, Checkpoint, CheckpointCopy, StepsSoFar
from workers.unet.checkpoints.loop_state import LoopState

CPU = find_device("cpu")
WORKER = WorkerReceipt(device="cpu", threads=1, dtype="float32", versions={"torch": "2"})
BASIS = Basis(worker=WORKER, model_sha256="ab", request="cd")
SO_FAR = StepsSoFar(
    loras=[LoraReceipt(name="anime", sha256="ef", step=2)],
    controlnets=[ControlNetReceipt(name="edge", sha256="01", batch=2)],
    split_steps=[1, 2],
    cfg_follower=WORKER,
    continued_at=[1],
)


def frame(latents: torch.Tensor | None = None) -> bytes:
    outputs = torch.ones(3)
    state = LoopState(
        3,
        torch.zeros(1, 4, 2, 2) if latents is None else latents,
        {"outputs": [None, outputs], "last": outputs, "sigma": 0.1, "order": 2, "shape": torch.Size([4, 2])},
        [torch.Generator().manual_seed(1).get_state()],
    )
    return CheckpointCopy(state, BASIS, SO_FAR, CPU).pack()


def test_everything_comes_back() -> None:
    checkpoint = Checkpoint(frame())
    assert checkpoint.header.basis == BASIS
    assert checkpoint.header.so_far == SO_FAR
    state = checkpoint.state(CPU)
    assert state.step == 3
    assert torch.equal(state.latents, torch.zeros(1, 4, 2, 2))
    outputs = state.scheduler["outputs"]
    assert isinstance(outputs, list)
    assert outputs[0] is None
    assert outputs[1] is state.scheduler["last"]
    assert (state.scheduler["sigma"], state.scheduler["order"]) == (0.1, 2)
    assert state.scheduler["shape"] == torch.Size([4, 2])
    assert isinstance(state.scheduler["shape"], torch.Size)
    assert torch.equal(state.generators[0], torch.Generator().manual_seed(1).get_state())


@pytest.mark.parametrize("data", [b"", b"SDT1", b"garbage" * 9, frame()[:40], pack_bytes({"format": 1})])
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Checkpoint(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"latents": 9},
        {"generators": [9]},
        {"scheduler": {"last": {"tensor": 9}}},
        {"scheduler": {"last": {}}},
        {"scheduler": {"last": {"size": ["4"]}}},
        {"tensors": []},
    ],
)
def test_a_header_that_does_not_fit_its_tensors_is_refused(changes: dict[str, object]) -> None:
    header, data = unpack_bytes(frame())
    with pytest.raises(ValueError, match=r"\w"):
        Checkpoint(pack_bytes({**header, **changes}, data)).state(CPU)


def test_a_newer_format_is_refused_and_newer_fields_are_not() -> None:
    header, data = unpack_bytes(frame())
    assert Checkpoint(pack_bytes({**header, "mood": "good"}, data)).header.step == 3
    with pytest.raises(ValueError, match="format 2"):
        Checkpoint(pack_bytes({**header, "format": 2}, data))


def test_the_frame_holds_json_and_raw_bytes_alone() -> None:
    header, data = unpack_bytes(frame())
    assert json.loads(json.dumps(header)) == header
    assert len(data) == 16 * 4 + 3 * 4 + torch.Generator().get_state().nbytes
