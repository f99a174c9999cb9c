"""The sender keeps the order, sends together what it can, and isolates failures."""

import itertools
import threading
from collections.abc import Iterator

import pytest
import torch
from redis import Redis

from shared.settings import Settings
from tests.fake_device import FakeDevice
from tests.infra.local.waiting import eventually
from tests.proxy import proxied
from tests.workers.running import running
from tests.workers.transport.transport_ends import TransportEnds, make_response, noise
from workers.controlnet_serving import sender as sender_module
from workers.controlnet_serving.lease_renewer import LeaseRenewer
from workers.controlnet_serving.sender import QueuedResponse, ResponseSender
from workers.devices.base import HostCopy
from workers.devices.timer import DeviceTimer
from workers.runtime.device_loss import DeviceLoss
from workers.transport.backends.inline import INLINE_BYTES
from workers.transport.protocol import ControlNetCall
from workers.transport.response_batch import BATCH_BYTES
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport


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
            sender.send(QueuedResponse(request, make_response(index), noise(2, 64, 32, 32), "edge"))
        if index == 1:
            sender.send(
                QueuedResponse(
                    requests[0], make_response(7), torch.zeros(2, 64, 32, 32, dtype=torch.int64), "edge"
                )
            )
    # When they are sent
    with running(sender):
        pass
    # Then all others have arrived, in order
    for request in requests:
        received = []
        while len(received) < 3:
            received += ends.receive(request)
        assert [response.index for response, _ in received] == [-1, 1, 0]


class HangingCopies(FakeDevice):
    """No copy ends."""

    def __init__(self) -> None:
        super().__init__()
        self.end = threading.Event()

    def to_host(self, tensor: torch.Tensor, into: torch.Tensor | None = None) -> HostCopy:
        self.end.wait()
        return super().to_host(tensor, into)


def test_a_sender_that_stops_waits_for_a_device_that_hangs_no_longer_than_it_shall(
    residual: Redis, servers: Settings
) -> None:
    residual.flushall()
    device = HangingCopies()
    ends = TransportEnds([residual], servers.model_copy(update={"shared_memory": "auto"}), device=device)
    sender = ResponseSender(ends.controlnet, LeaseRenewer(ends.steps, []))
    sender.send(QueuedResponse(ends.send_step(), make_response(0), noise(2, 64, 64, 64), "edge"))
    sender.start()
    has_stopped = sender.stop(0.1)
    device.end.set()
    assert (has_stopped, sender.stop()) == (False, True)
    ends.close()


class FailingCopies(FakeDevice):
    """It is lost, which is found when something is copied."""

    def to_host(self, tensor: torch.Tensor, into: torch.Tensor | None = None) -> HostCopy:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


def test_a_device_that_is_lost_while_residuals_are_copied_ends_the_worker(
    residual: Redis, servers: Settings
) -> None:
    residual.flushall()
    device = FailingCopies()
    loss = DeviceLoss(device, end=lambda why: None)
    ends = TransportEnds([residual], servers.model_copy(update={"shared_memory": "auto"}), device=device)
    sender = ResponseSender(ends.controlnet, LeaseRenewer(ends.steps, []), loss)
    sender.send(QueuedResponse(ends.send_step(), make_response(0), noise(2, 64, 64, 64), "edge"))
    with running(sender):
        pass
    assert "illegal memory access" in loss.problems()[0]
    ends.close()


def test_a_header_that_is_lost_while_nothing_else_is_sent_is_asked_for_again(
    residual: Redis, servers: Settings
) -> None:
    residual.flushall()
    ends = TransportEnds([residual], servers.model_copy(update={"controlnet_lease_s": 60.0}))
    short = servers.model_copy(update={"controlnet_lease_s": 0.4})
    part = ControlNetCall(controlnet="edge", position=0, image="", scale=1.0)
    with proxied(servers.residual_redis_port) as proxy:
        # Given a sender whose connection is dead without being closed
        far = ResidualTransport([Redis(port=proxy.port, protocol=2)], short)
        sender = ResponseSender(far, LeaseRenewer(StepQueue(residual, short), []))
        with running(sender):
            other = ends.send_step()
            sender.send(QueuedResponse(other, make_response(), noise(1, 8), "edge"))
            ends.receive(other)
            proxy.silence()
            # When it sends a residual of a step that is claimed, whose lease is renewed
            request = ends.send_step(parts=[part])
            queued = ends.steps.pop(["edge"])
            assert queued is not None
            assert ends.steps.claim(queued) is not None
            sender.send(QueuedResponse(request, make_response(), noise(1, 8), "edge"))
            # Then the job learns that it must ask again
            assert eventually(lambda: ends.steps.locate(request, part) == "lost")
    ends.close()


def test_headers_leave_after_their_copies_which_follow_what_they_copy(
    residual: Redis, servers: Settings
) -> None:
    # Given residuals that a device has not computed yet, one of each way to travel
    residual.flushall()
    now = itertools.count(100.0)
    device = FakeDevice(now=lambda: float(next(now)))
    ends = TransportEnds([residual], servers.model_copy(update={"shared_memory": "auto"}), device=device)
    request, timer = ends.send_step(), DeviceTimer(device)
    sender = ResponseSender(ends.controlnet, LeaseRenewer(ends.steps, []))
    small, large = noise(1, INLINE_BYTES // 4), noise(2, 64, 64, 64)
    start = timer.start()
    for index, tensor in enumerate((small, large)):
        sender.send(QueuedResponse(request, make_response(index), tensor, "edge", timer.end(start)))
    submitted = len(device.log)
    # When they are sent
    with running(sender):
        pass
    # Then each copy follows the event of its residual on a side stream, and is waited for at the end
    kinds = [entry for entry in device.log[submitted:] if not entry.startswith("record")]
    assert kinds == [
        "out follows 2",
        "to host by 4",
        "out follows 3",
        "to host by 5",
        "wait 4",
        "wait 5",
    ]
    # And what has arrived are the numbers, with the times at which the device computed them
    received = []
    while len(received) < 2:
        received += ends.receive(request)
    for sent, (response, tensor) in zip((small, large), received, strict=True):
        assert tensor is not None
        assert torch.equal(tensor, sent)
        assert response.start_s == 100.0
        assert response.end_s > response.start_s
    ends.close()


def test_all_copies_are_submitted_before_one_is_waited_for_and_leave_as_one_message(
    residual: Redis, servers: Settings
) -> None:
    # Given residuals of which each fills a batch of headers, and a device that ends their copies at once
    residual.flushall()
    device = FakeDevice()
    ends = TransportEnds([residual], servers.model_copy(update={"shared_memory": "auto"}), device=device)
    request = ends.send_step()
    sent = [(make_response(index), noise(BATCH_BYTES // 4, seed=index)) for index in range(3)]
    device.ends_together = True
    residual.config_resetstat()
    # When they are sent
    ends.controlnet.respond(request, sent)
    # Then one wait was enough, and the headers were one message
    order = [entry.split()[0] for entry in device.log if entry.startswith(("to host", "wait"))]
    assert order == ["to", "to", "to", "wait"]
    assert residual.info("commandstats")["cmdstat_rpush"]["calls"] == 1
    received = []
    while len(received) < 3:
        received += ends.receive(request)
    assert [response.index for response, _ in received] == [0, 1, 2]
    ends.close()


def test_a_header_does_not_wait_for_copies_that_take_longer(residual: Redis, servers: Settings) -> None:
    residual.flushall()
    device = FakeDevice()
    ends = TransportEnds([residual], servers.model_copy(update={"shared_memory": "auto"}), device=device)
    request = ends.send_step()
    sent = [(make_response(index), noise(BATCH_BYTES // 4, seed=index)) for index in range(3)]
    residual.config_resetstat()
    ends.controlnet.respond(request, sent)  # the device ends one copy at a time
    assert residual.info("commandstats")["cmdstat_rpush"]["calls"] == 3
    ends.close()


def test_large_residuals_that_wait_keep_the_next_step_from_being_computed(
    ends: TransportEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "MAX_QUEUED_BYTES", 1 << 20)
    sender = ResponseSender(ends.controlnet, LeaseRenewer(ends.steps, []))
    request, half = ends.send_step(), torch.zeros(1 << 17)  # of float32
    sender.send(QueuedResponse(request, make_response(0), half, "edge"))
    assert sender.wait_for_room(0.0)
    sender.send(QueuedResponse(request, make_response(1), half, "edge"))
    assert not sender.wait_for_room(0.0)
    with running(sender):
        assert sender.wait_for_room(10.0)
