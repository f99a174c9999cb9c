"""The UNet worker's end: what it waits for, and headers whose connection breaks on their way to it."""

import threading
from concurrent.futures import ThreadPoolExecutor

from redis import Redis

from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.proxy import proxied
from tests.workers.transport.transport_ends import TransportEnds, make_response, noise
from workers.transport.keys import responses_key
from workers.transport.protocol import ControlNetCall
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
