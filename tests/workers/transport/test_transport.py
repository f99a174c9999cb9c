"""Residuals from end to end: the same bits on every rung, memory that is used again only when it is free."""

from collections.abc import Iterator

import pytest
import torch
from redis import Redis
from torch import Tensor

from shared.errors import ResidualLost
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.workers.transport.ends import Ends, Rung, answer, noise
from workers.transport.backends.host_memory import find_host_memory
from workers.transport.keys import responses_key
from workers.transport.protocol import StepResponse
from workers.transport.wire import pack_bytes

#: Inline, one chunk, several chunks and a piece.
SHAPES = [(2, 4, 8, 8), (2, 64, 32, 32), (2, 64, 99, 99)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_residual_arrives_bit_by_bit(ends: Ends, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    sent = noise(*shape, dtype=dtype)
    received = ends.hand_over(ends.ask(), sent)
    assert (received.dtype, received.shape) == (sent.dtype, sent.shape)
    assert torch.equal(received, sent)


def test_a_residual_of_strided_memory_arrives_whole(ends: Ends) -> None:
    sent = noise(64, 2, 32, 32).transpose(0, 1)[:, ::2]
    assert torch.equal(ends.hand_over(ends.ask(), sent), sent)


def test_memory_in_use_is_never_written_again(ends: Ends) -> None:
    # Given a residual that is still looked at, through a view of a view
    asked = ends.ask()
    kept = ends.hand_over(asked, noise(2, 64, 32, 32, seed=1))[1:, 3:]
    # When others of the same size follow
    for seed in range(2, 6):
        ends.hand_over(asked, noise(2, 64, 32, 32, seed=seed))
    # Then it is what it was
    assert torch.equal(kept, noise(2, 64, 32, 32, seed=1)[1:, 3:])


def test_memory_is_used_again_once_its_tensor_is_gone(ends: Ends) -> None:
    asked = ends.ask()
    places = {ends.hand_over(asked, noise(2, 64, 32, 32, seed=seed)).data_ptr() for seed in range(4)}
    assert len(places) == 1


def test_residuals_come_in_the_order_in_which_they_were_sent(ends: Ends) -> None:
    asked = ends.ask()
    for index in (-1, 1, 0):
        ends.controlnet.respond(asked, [(answer(index), noise(2, 64, 32, 32, seed=9 + index))])
    received = []
    while len(received) < 3:
        received += ends.unet.receive(asked, 5.0)
    assert [head.index for head, _ in received] == [-1, 1, 0]
    for head, tensor in received:
        assert tensor is not None
        assert torch.equal(tensor, noise(2, 64, 32, 32, seed=9 + head.index))


def test_heads_wait_for_each_other_unless_there_is_something_to_fetch(
    ends: Ends, residual: Redis, rung: Rung
) -> None:
    asked = ends.ask()
    # Those in shared memory go when there are enough of them, and the last in any case
    posted = [1, 2, 3, 4] if rung == "redis" else [0, 0, 3, 3]

    def are_there(count: int) -> bool:
        return eventually(lambda: residual.llen(responses_key(asked)) == count)

    def answers() -> Iterator[tuple[StepResponse, Tensor]]:
        for index, side in enumerate((32, 32, 128, 32)):
            yield answer(index), noise(2, 64, side, side, seed=index)
            # What was posted is not acknowledged yet; what was not can never be there.
            assert are_there(posted[index])

    ends.controlnet.respond(asked, answers())
    assert are_there(4)


def test_nothing_is_sent_to_a_job_that_is_past_the_step(ends: Ends, residual: Redis) -> None:
    asked = ends.ask()
    later = ends.ask(job_id=asked.job_id, step=1)
    # When its worker comes too late, twice
    for index in range(2):
        ends.controlnet.respond(asked, [(answer(index), noise(2, 64, 32, 32))])
    # Then its answers are nowhere, and their memory is free for the next
    ends.hand_over(later, noise(2, 64, 32, 32))
    assert list(residual.scan_iter("swift:body:*")) + list(residual.scan_iter("swift:residuals:*")) == []


def test_a_step_that_was_asked_for_again_still_takes_what_comes_late(ends: Ends) -> None:
    asked = ends.ask()
    ends.ask(job_id=asked.job_id, retry=1)
    assert torch.equal(ends.hand_over(asked, noise(2, 64, 32, 32)), noise(2, 64, 32, 32))


def test_what_a_step_left_over_is_cleared_away_by_the_next(ends: Ends, residual: Redis) -> None:
    # Given two residuals of which one was taken
    asked = ends.ask()
    for index in range(2):
        ends.controlnet.respond(asked, [(answer(index), noise(2, 64, 32, 32, seed=index))])
    ends.unet.receive(asked, 5.0)
    # When the job goes on
    later = ends.ask(job_id=asked.job_id, step=1)
    ends.hand_over(later, noise(2, 64, 32, 32))
    # Then nothing of it is left
    assert list(residual.scan_iter("swift:body:*")) + list(residual.scan_iter("swift:residuals:*")) == []


def test_what_a_job_left_over_is_cleared_away_at_its_end(ends: Ends, residual: Redis) -> None:
    asked = ends.ask()
    for index in range(3):
        ends.controlnet.respond(asked, [(answer(index), noise(2, 64, 32, 32, seed=index))])
    ends.unet.receive(asked, 5.0)
    ends.unet.forget(asked.job_id)
    assert list(residual.scan_iter("swift:body:*")) + list(residual.scan_iter("swift:residuals:*")) == []


def test_a_body_that_is_gone_is_told_in_its_place(ends: Ends, residual: Redis, rung: Rung) -> None:
    asked = ends.ask()
    ends.controlnet.respond(asked, [(answer(3), noise(2, 64, 32, 32))])
    # The server ran full, or the writer died and was swept up.
    residual.delete(*residual.scan_iter("swift:body:*")) if rung == "redis" else ends.controlnet.close()
    ((head, tensor),) = ends.unet.receive(asked, 5.0)
    assert tensor is None
    assert (head.index, head.error) == (3, ResidualLost.code)


def test_workers_that_share_no_memory_use_redis(residual: Redis, servers: Settings) -> None:
    ends = Ends([residual], servers)
    asked = ends.ask().model_copy(update={"shared_memory": "another host's"})
    ends.controlnet.respond(asked, [(answer(), noise(2, 64, 32, 32))])
    assert list(residual.scan_iter("swift:body:*"))
    ends.close()


def test_a_worker_without_shared_memory_says_so(residual: Redis, servers: Settings) -> None:
    host = find_host_memory()
    assert host is not None
    assert Ends([residual], servers).ask().shared_memory == host.token
    assert Ends([residual], servers.model_copy(update={"shared_memory": "off"})).ask().shared_memory == ""


def sent(**changes: object) -> bytes:
    """An answer as it lies in the list, with ``changes`` of its body."""
    body = {"dtype": "float32", "shape": [1], **changes}
    return pack_bytes({**answer(1).model_dump(), "body": body}, bytes(4))


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"garbage",
        b"SDT1\xff\xff\xff\xff{}",
        pack_bytes({}),
        pack_bytes({**answer().model_dump(), "positions": "all"}),
        sent(dtype="pickle"),
        sent(shape=[2]),
        sent(shape=[-1]),
    ],
)
def test_what_is_no_answer_is_dropped_and_hides_none(ends: Ends, residual: Redis, garbage: bytes) -> None:
    asked = ends.ask()
    residual.rpush(responses_key(asked), garbage)
    tensor = noise(2, 4, 8, 8)
    assert torch.equal(ends.hand_over(asked, tensor), tensor)
    # And it stands in the way of no later step
    residual.rpush(responses_key(asked), garbage)
    later = ends.ask(job_id=asked.job_id, step=1)
    assert torch.equal(ends.hand_over(later, tensor), tensor)
