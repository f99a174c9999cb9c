"""The channel between the two workers of a split job."""

import pytest
import torch
from redis import Redis

from workers.transport.wire import pack, pack_bytes
from workers.unet.cfg_parallel.channel import BranchChannel
from workers.unet.cfg_parallel.messages import BranchPrediction, BranchStep

STEP = BranchStep(step=3, total=4, t=1.0, loras=[])
PREDICTION = BranchPrediction(step=3, worker="unet2@test")
X = torch.arange(4.0)


@pytest.mark.parametrize("garbage", [b"garbage", pack_bytes({}), pack({**STEP.model_dump(), "step": "x"}, X)])
def test_malformed_steps_and_predictions_are_dropped(residual: Redis, garbage: bytes) -> None:
    channel = BranchChannel(residual, "0" * 16, "attempt", 60)
    for name in ("steps", "predictions"):
        residual.delete(f"swift:cfg:{name}:{'0' * 16}:attempt")
        residual.rpush(f"swift:cfg:{name}:{'0' * 16}:attempt", garbage)
    channel.send_step(STEP, X)
    channel.respond(PREDICTION, X)
    assert (channel.next_step(1), channel.receive(1)) == (None, None)
    step, received = channel.next_step(1), channel.receive(1)
    assert step is not None
    assert received is not None
    assert (step[0], received[0]) == (STEP, PREDICTION)
