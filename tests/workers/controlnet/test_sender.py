"""The sender: in order, together where that can be, and nobody's trouble is another's."""

from collections.abc import Iterator

import pytest
import torch
from redis import Redis

from shared.settings import Settings
from tests.workers.residuals.ends import Ends, answer, noise
from workers.controlnet.pulse import Pulse
from workers.controlnet.sender import Sender


@pytest.fixture
def ends(residual: Redis, servers: Settings) -> Iterator[Ends]:
    residual.flushall()
    ends = Ends([residual], servers)
    yield ends
    ends.shut()


def test_what_waits_is_sent_in_order_and_what_cannot_be_sent_costs_nobody_else(ends: Ends) -> None:
    # Given residuals of two jobs, and one of a type that never travels
    one, other = ends.ask(), ends.ask()
    sender = Sender(ends.net, Pulse(ends.steps, []))
    for index in (-1, 1, 0):
        sender.send(one, answer(index), noise(2, 64, 32, 32, seed=9 + index), "edge")
    sender.send(other, answer(-1), torch.zeros(2, 64, 32, 32, dtype=torch.int64), "edge")
    sender.send(one, answer(2), noise(2, 4, 8, 8), "edge")
    # When they are sent
    sender.start()
    sender.stop()
    # Then all others have arrived, in order
    received = []
    while len(received) < 4:
        received += ends.unet.receive(one, 5.0)
    assert [head.index for head, _ in received] == [-1, 1, 0, 2]
    assert ends.unet.receive(other, 0.01) == []
