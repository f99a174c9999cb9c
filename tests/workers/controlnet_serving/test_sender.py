"""The sender keeps the order, sends together what it can, and isolates failures."""

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


def test_responses_are_sent_in_order_and_one_that_fails_stops_no_other(ends: TransportEnds) -> None:
    # Given residuals of two jobs by turns, as of a shared forward pass, and one of a dtype that is never sent
    requests = [ends.send_step(), ends.send_step()]
    sender = ResponseSender(ends.controlnet, LeaseRenewer(ends.steps, []))
    for index in (-1, 1, 0):
        for request in requests:
            sender.send(request, make_response(index), noise(2, 64, 32, 32), "edge")
        if index == 1:
            sender.send(requests[0], make_response(7), torch.zeros(2, 64, 32, 32, dtype=torch.int64), "edge")
    # When they are sent
    sender.start()
    sender.stop()
    # Then all others have arrived, in order
    for request in requests:
        received = []
        while len(received) < 3:
            received += ends.receive(request)
        assert [response.index for response, _ in received] == [-1, 1, 0]
