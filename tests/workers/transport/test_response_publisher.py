"""Headers and the payloads that travel with them: stored, refused, or lost with a connection."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis
from torch import Tensor

from shared.keys import TRANSPORT
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.proxy import Proxy, proxied
from tests.workers.transport.transport_ends import TransportEnds, make_response, noise, received_by
from workers.devices.selection import find_device
from workers.transport.backends.base import StoredPayload
from workers.transport.backends.redis import RedisBackend
from workers.transport.backends.selection import BackendSet
from workers.transport.keys import responses_key
from workers.transport.protocol import ControlNetCall, StepRequest, StepResponse
from workers.transport.redis_client.pool import ConnectionPool
from workers.transport.response_batch import unchanged
from workers.transport.response_publisher import ResponseEnvelope, ResponsePublisher
from workers.transport.sender import ResidualSender

NEVER_S = 3600.0
KEY = f"{TRANSPORT}:payload:tested:0".encode()
STORED = StoredPayload({}, commands=[(b"SET", KEY, b"payload", b"EX", b"60")])
REFUSED = StoredPayload({}, commands=[(b"EXISTS", KEY)])


class RefusedOnce(RedisBackend):
    """The servers refuse the first payload, as if others had filled them meanwhile."""

    refusals = 1

    def put(self, request: StepRequest, index: int, payload: Tensor) -> StoredPayload:
        stored = super().put(request, index, payload)
        if not self.refusals:
            return stored
        self.refusals -= 1
        return stored._replace(commands=[(b"EXISTS", command[1]) for command in stored.commands])


@pytest.fixture
def ends(residual: Redis, servers: Settings) -> Iterator[TransportEnds]:
    residual.flushall()
    ends = TransportEnds([residual], servers.model_copy(update={"shared_memory": "off"}))
    yield ends
    ends.close()


@pytest.fixture
def publisher(residual: Redis) -> ResponsePublisher:
    return ResponsePublisher(ConnectionPool([residual]), 60, lambda payload: None, NEVER_S)


@contextmanager
def behind_proxy(residual: Redis) -> Iterator[tuple[ConnectionPool, Proxy]]:
    """Connections to the server, and what its answers go through."""
    with proxied(residual.connection_pool.connection_kwargs["port"]) as proxy:
        yield ConnectionPool([Redis(port=proxy.port, protocol=2)]), proxy


def test_all_residuals_of_a_step_are_stored_before_one_acknowledgement_is_read(
    residual: Redis, servers: Settings, ends: TransportEnds
) -> None:
    request = ends.send_step()
    backend = RedisBackend(ConnectionPool([residual]), servers, find_device("cpu"))
    with behind_proxy(residual) as (behind, proxy):
        sender = ResidualSender(behind, BackendSet([backend]), 60, NEVER_S)
        sender.respond(request, [(make_response(), noise(2, 64, 32, 32))], unchanged)
        # Given a server whose answers do not arrive
        proxy.gate.clear()
        responses = [(make_response(index), noise(2, 64, 32, 32)) for index in range(1, 4)]
        sending = threading.Thread(target=sender.respond, args=[request, responses, unchanged])
        sending.start()
        # Then all residuals arrive there; but the worker keeps them until it knows that they have
        assert eventually(lambda: residual.llen(responses_key(request)) == 4)
        assert sending.is_alive()
        proxy.gate.set()
        sending.join()


def test_a_residual_costs_one_command_and_its_header_another(residual: Redis, ends: TransportEnds) -> None:
    request = ends.send_step()
    ends.controlnet.respond(request, [(make_response(), noise(2, 64, 32, 32))])
    residual.config_resetstat()
    ends.controlnet.respond(request, [(make_response(i), noise(2, 64, 32, 32)) for i in range(1, 4)])
    stats = residual.info("commandstats")
    assert {name: stats[f"cmdstat_{name}"]["calls"] for name in ("set", "evalsha", "rpush")} == {
        "set": 3,
        "evalsha": 3,
        "rpush": 3,
    }
    # Of a current step nothing is asked but, now and then, for the server's memory
    assert stats.get("cmdstat_info", {"calls": 0})["calls"] <= 1 + 1


def test_a_header_is_not_published_if_the_server_has_refused_its_payload(
    residual: Redis, ends: TransportEnds, publisher: ResponsePublisher
) -> None:
    request = ends.send_step()
    for stored, count in ((REFUSED, 0), (STORED, 1)):
        publication = publisher.publish(request, [ResponseEnvelope(make_response(), stored)])
        publisher.wait(publication)
        assert publication.is_refused == (stored is REFUSED)
        assert residual.llen(responses_key(request)) == count


def test_a_refused_residual_is_stored_again_and_arrives(
    residual: Redis, servers: Settings, ends: TransportEnds
) -> None:
    request, pool = ends.send_step(), ConnectionPool([residual])
    backends = BackendSet([RefusedOnce(pool, servers, find_device("cpu"))])
    sent = [(make_response(index), noise(2, 64, 32, 32, seed=index)) for index in range(3)]
    ResidualSender(pool, backends, 60, NEVER_S).respond(request, sent, unchanged)
    received: list[tuple[StepResponse, Tensor | None]] = []
    while len(received) < 3:
        received += received_by(ends.unet, request)
    assert [response.index for response, _ in received] == [1, 2, 0]
    for response, tensor in received:
        assert tensor is not None
        assert tensor.equal(noise(2, 64, 32, 32, seed=response.index))


def test_a_payload_whose_connection_breaks_is_sent_again_and_a_lone_header_is_not(
    residual: Redis, ends: TransportEnds
) -> None:
    alone, together = ends.send_step(), ends.send_step()
    with behind_proxy(residual) as (behind, proxy):
        publisher = ResponsePublisher(behind, 60, lambda payload: None, NEVER_S)
        publisher.wait(publisher.publish(together, [ResponseEnvelope(make_response(), STORED)]))
        # Given headers that arrived, and acknowledgements that did not
        proxy.gate.clear()
        publications = [
            publisher.publish(alone, [ResponseEnvelope(make_response())]),
            publisher.publish(together, [ResponseEnvelope(make_response(), STORED)]),
        ]
        assert eventually(lambda: residual.llen(responses_key(together)) == 2)
        # When the connection breaks
        proxy.cuts = 1
        proxy.gate.set()
        for publication in publications:
            publisher.wait(publication)
    # Then the payload is there in any case; a second header of one in shared memory would miss it
    assert residual.llen(responses_key(together)) == 3
    assert residual.llen(responses_key(alone)) == 1


@pytest.mark.parametrize("is_reset", [True, False], ids=["a broken connection", "a silent connection"])
def test_a_job_finds_a_step_lost_whose_header_was_lost_with_its_connection(
    is_reset: bool, residual: Redis, ends: TransportEnds
) -> None:
    part = ControlNetCall(controlnet="edge", position=0, image="", scale=1.0)
    request, other = ends.send_step(parts=[part]), ends.send_step()
    queued = ends.steps.pop(["edge"])
    assert queued is not None
    assert ends.steps.claim(queued) is not None
    with behind_proxy(residual) as (behind, proxy):
        publisher = ResponsePublisher(behind, 60, lambda payload: None, NEVER_S if is_reset else 0.4)
        publisher.wait(publisher.publish(other, [ResponseEnvelope(make_response(), STORED)]))
        # Given a header that was sent and has never reached the server
        proxy.silence()
        publisher.publish(request, [ResponseEnvelope(make_response())])
        assert ends.steps.locate(request, part) == "claimed"
        # When its connection is given up, by who sends something else or by who looks now and then
        if is_reset:
            proxy.reset()
            publisher.publish(other, [ResponseEnvelope(make_response(1))])
        else:
            assert eventually(lambda: not publisher.check())
        # Then whoever waits for it knows at once that it must ask again
        assert ends.steps.locate(request, part) == "lost"


def test_an_acknowledgement_is_waited_for_less_than_a_lease(residual: Redis, ends: TransportEnds) -> None:
    request = ends.send_step()
    with behind_proxy(residual) as (behind, proxy):
        publisher = ResponsePublisher(behind, 60, lambda payload: None, lease_s=0.4)
        publisher.wait(publisher.publish(request, [ResponseEnvelope(make_response(), STORED)]))
        # Given a connection that is dead without being closed, and a payload that was sent over it
        proxy.silence()
        publication = publisher.publish(request, [ResponseEnvelope(make_response(1), STORED)])
        # When it is waited for, then it is sent again over another one
        publisher.wait(publication)
        # Before the proxy is closed: it then passes on what it holds
        assert residual.llen(responses_key(request)) == 2


def test_a_step_that_a_restarted_server_did_not_know_is_answered_when_asked_again(
    residual: Redis, ends: TransportEnds
) -> None:
    # Given a server that has lost the request while it was computed
    request = ends.send_step()
    residual.flushall()
    ends.controlnet.respond(request, [(make_response(), noise(2, 64, 32, 32))])
    # When the same step is requested again
    again = ends.send_step(job_id=request.job_id, retry=1)
    # Then its residuals are sent
    assert ends.transfer(again, noise(2, 64, 32, 32)).equal(noise(2, 64, 32, 32))
