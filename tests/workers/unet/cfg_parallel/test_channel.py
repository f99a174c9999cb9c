"""The line between two UNet workers that share a job."""

import pytest
import torch
from redis import Redis

from workers.transport.wire import pack, pack_bytes
from workers.unet.cfg_parallel.channel import BranchChannel, BranchPrediction, BranchStep

STEP = BranchStep(step=3, total=4, t=1.0, loras=[])
ANSWER = BranchPrediction(step=3, worker="unet2@test")
X = torch.arange(4.0)


@pytest.mark.parametrize("garbage", [b"garbage", pack_bytes({}), pack({**STEP.model_dump(), "step": "x"}, X)])
def test_what_is_no_step_and_no_answer_is_dropped(residual: Redis, garbage: bytes) -> None:
    line = BranchChannel(residual, "0" * 16, "attempt", 60)
    for name in ("steps", "answers"):
        residual.delete(f"swift:half:{name}:{'0' * 16}:attempt")
        residual.rpush(f"swift:half:{name}:{'0' * 16}:attempt", garbage)
    line.ask(STEP, X)
    line.answer(ANSWER, X)
    assert (line.next_step(1), line.receive(1)) == (None, None)
    step, answer = line.next_step(1), line.receive(1)
    assert step is not None
    assert answer is not None
    assert (step[0], answer[0]) == (STEP, ANSWER)
