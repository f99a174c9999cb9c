"""The sender: in order, together where that can be, and nobody's trouble is another's."""

from collections.abc import Iterator

import pytest
import torch
from redis import Redis

from shared.settings import Settings
from tests.workers.transport.transport_ends import TransportEnds, make_response, noise
from workers.controlnet_serving.lease_renewer import LeaseRenewer
from workers.controlnet_serving.sender import ResponseSender


@pytest.fixture
def ends(residual: Redis, servers: Settings) -> Iterator[TransportEnds]:
    residual.flushall()
    ends = TransportEnds([residual], servers)
    yield ends
    ends.close()


def test_what_waits_is_sent_in_order_and_what_cannot_be_sent_costs_nobody_else(ends: TransportEnds) -> None:
    # Given residuals of two jobs by turns, as of a pass that they share, and one of a type that never travels
    asked = [ends.send_step(), ends.send_step()]
    sender = ResponseSender(ends.controlnet, LeaseRenewer(ends.steps, []))
    for index in (-1, 1, 0):
        for job in asked:
            sender.send(job, make_response(index), noise(2, 64, 32, 32), "edge")
        if index == 1:
            sender.send(asked[0], make_response(7), torch.zeros(2, 64, 32, 32, dtype=torch.int64), "edge")
    # When they are sent
    sender.start()
    sender.stop()
    # Then all others have arrived, in order
    for job in asked:
        received = []
        while len(received) < 3:
            received += ends.unet.receive(job, 5.0)
        assert [response.index for response, _ in received] == [-1, 1, 0]
