"""The UNet worker's end: what it waits for, and headers whose connection breaks on their way to it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from redis import Redis

from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.proxy import proxied
from tests.workers.transport.transport_ends import TransportEnds, make_response, noise
from workers.devices.selection import find_device
from workers.transport.backends.selection import BackendSet, build_backends
from workers.transport.keys import responses_key
from workers.transport.protocol import ControlNetCall
from workers.transport.receiver import ResidualReceiver
from workers.transport.redis_client.pool import ConnectionPool
from workers.transport.transport import ResidualTransport


def test_headers_that_are_lost_with_their_connection_are_asked_for_again(
    residual: Redis, servers: Settings
) -> None:
    residual.flushall()
    ends = TransportEnds([residual], servers.model_copy(update={"controlnet_lease_s": 60.0}))
    part = ControlNetCall(controlnet="edge", position=0, image="", scale=1.0)
    with proxied(servers.residual_redis_port) as proxy:
        unet = ResidualTransport([Redis(port=proxy.port, protocol=2)], servers)
        assert unet.receive(ends.send_step(), 0.01) == []  # there is a connection
        # Given a step that a worker has claimed and answered
        request = ends.send_step(parts=[part])
        queued = ends.steps.pop(["edge"])
        assert queued is not None
        assert ends.steps.claim(queued) is not None
        ends.controlnet.respond(request, [(make_response(), noise(1, 8))])
        assert eventually(lambda: residual.llen(responses_key(request)))
        # When the connection breaks after the server has taken the headers from their list
        proxy.cuts = 1
        assert unet.receive(request, 0.5) == []
        assert proxy.cuts == 0
        # Then the job learns that it must ask again, although the worker lives
        assert ends.steps.locate(request, part) == "lost"
    ends.close()


def test_only_a_response_that_is_not_there_is_waited_for(residual: Redis, servers: Settings) -> None:
    residual.flushall()
    ends, waits = TransportEnds([residual], servers), threading.Event()
    # Given a residual that is there
    request = ends.send_step()
    ends.controlnet.respond(request, [(make_response(0), noise(1, 8))])
    assert eventually(lambda: residual.llen(responses_key(request)))
    assert len(ends.unet.receive(request, 5.0, waits.set)) == 1
    assert not waits.is_set()
    # And another one that is asked for before it is sent
    with ThreadPoolExecutor(1) as thread:
        received = thread.submit(ends.unet.receive, request, 5.0, waits.set)
        assert waits.wait(5.0)
        ends.controlnet.respond(request, [(make_response(1), noise(1, 8))])
        assert len(received.result()) == 1
    ends.close()


def test_no_more_residuals_are_brought_to_the_device_than_it_may_hold_but_for_one(
    residual: Redis, servers: Settings
) -> None:
    residual.flushall()
    ends, device, pool = TransportEnds([residual], servers), find_device("cpu"), ConnectionPool([residual])
    backends = BackendSet(build_backends(pool, servers, device, 0))
    receiver = ResidualReceiver(pool, backends, device, max_held_bytes=100)
    # Given six residuals of 32 bytes, and one that is larger than all that may be held
    request = ends.send_step()
    sent = [(make_response(index), noise(1, 8)) for index in range(6)] + [(make_response(6), noise(1, 80))]
    ends.controlnet.respond(request, sent)
    assert eventually(lambda: residual.llen(responses_key(request)))
    # Then as many come as fit beside what the reader holds, and one where none does
    came = []
    for held_bytes, count in ((0, 3), (96, 1), (64, 1), (0, 1), (0, 1)):
        received = receiver.receive(request, 5.0, held_bytes=held_bytes)
        assert len(received) == count
        came += received
    assert [response.index for response, _ in came] == list(range(7))
    for (_, copy), (_, tensor) in zip(came, sent, strict=True):
        assert copy is not None
        assert torch.equal(copy.follow(), tensor)
    ends.close()
