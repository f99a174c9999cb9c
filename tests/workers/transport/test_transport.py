"""Residuals from end to end: every backend keeps every bit, and memory is reused only when it is free."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from redis import Redis
from torch import Tensor

from shared.errors import ResidualLost
from shared.jobs.options import Precision
from shared.keys import TRANSPORT
from shared.settings import Settings
from tests.fake_device import FakeDevice
from tests.infra.local.waiting import eventually
from tests.workers.transport.transport_ends import BackendName, TransportEnds, make_response, noise
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.runtime.budgets import transport_memory
from workers.transport.backends.host_memory import find_host_memory
from workers.transport.backends.shared_memory import SharedMemoryBackend
from workers.transport.codecs import as_sent
from workers.transport.keys import responses_key
from workers.transport.protocol import StepResponse
from workers.transport.wire import pack_bytes

#: Inline, one chunk, several chunks and a part of one.
SHAPES = [(2, 4, 8, 8), (2, 64, 32, 32), (2, 64, 99, 99)]
PAYLOADS, RESPONSES = f"{TRANSPORT}:payload:*", f"{TRANSPORT}:responses:*"


def left_over(residual: Redis) -> list[bytes]:
    """Keys of payloads and of responses."""
    return [*residual.scan_iter(PAYLOADS), *residual.scan_iter(RESPONSES)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_residual_arrives_bit_by_bit(
    ends: TransportEnds, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    sent = noise(*shape, dtype=dtype)
    received = ends.transfer(ends.send_step(), sent)
    assert (received.dtype, received.shape) == (sent.dtype, sent.shape)
    assert torch.equal(received, sent)


def test_a_residual_of_strided_memory_arrives_whole(ends: TransportEnds) -> None:
    sent = noise(64, 2, 32, 32).transpose(0, 1)[:, ::2]
    assert torch.equal(ends.transfer(ends.send_step(), sent), sent)


@pytest.mark.parametrize("precision", ["exact", "float16", "int8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_residual_keeps_its_memory_format(
    ends: TransportEnds, shape: tuple[int, ...], precision: Precision
) -> None:
    sent = noise(*shape).to(memory_format=torch.channels_last)
    received = ends.transfer(ends.send_step(residual_precision=precision), sent)
    assert received.stride() == sent.stride()
    assert torch.equal(received, as_sent(sent, precision))
    assert torch.equal(received, as_sent(sent.contiguous(), precision))


@pytest.mark.parametrize("precision", ["exact", "float16", "int8"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_residuals_of_a_gpu_arrive_on_the_gpu_with_the_bits_of_a_cpu(
    residual: Redis,
    servers: Settings,
    backend: BackendName,
    cuda: Device,
    memory_format: torch.memory_format,
    precision: Precision,
) -> None:
    residual.flushall()
    shared_memory = "auto" if backend == "shared_memory" else "off"
    settings = servers.model_copy(update={"shared_memory": shared_memory})
    ends = TransportEnds([residual], settings, device=cuda)
    request = ends.send_step(residual_precision=precision)
    for seed in range(3):  # memory is used again, at both ends and on the device
        for shape in SHAPES:
            sent = noise(*shape, seed=seed).to(memory_format=memory_format)
            received = ends.transfer(request, sent.to(cuda.torch_device))
            assert received.device == cuda.torch_device
            assert received.stride() == sent.stride()
            assert torch.equal(received.cpu(), as_sent(sent, precision))
    ends.close()


def test_the_reader_tells_which_backend_has_carried_residuals_of_which_worker(
    ends: TransportEnds, backend: BackendName
) -> None:
    for residual in (noise(2, 4, 8, 8), noise(2, 64, 32, 32), noise(2, 64, 32, 32)):
        ends.transfer(ends.send_step(), residual)
    assert ends.unet.received_residuals() == {"controlnet1@test": {"inline": 1, backend: 2}}
    assert ends.controlnet.received_residuals() == {}


def test_memory_in_use_is_never_written_again(ends: TransportEnds) -> None:
    # Given a residual that is still used, through a view of a view
    request = ends.send_step()
    kept = ends.transfer(request, noise(2, 64, 32, 32, seed=1))[1:, 3:]
    # When others of the same size follow
    for seed in range(2, 6):
        ends.transfer(request, noise(2, 64, 32, 32, seed=seed))
    # Then it has not changed
    assert torch.equal(kept, noise(2, 64, 32, 32, seed=1)[1:, 3:])


def test_memory_is_reused_once_its_tensor_is_gone(ends: TransportEnds) -> None:
    request = ends.send_step()
    addresses = {ends.transfer(request, noise(2, 64, 32, 32, seed=seed)).data_ptr() for seed in range(4)}
    assert len(addresses) == 1


def test_residuals_arrive_in_the_order_in_which_they_were_sent(ends: TransportEnds) -> None:
    request = ends.send_step()
    for index in (-1, 1, 0):
        ends.controlnet.respond(request, [(make_response(index), noise(2, 64, 32, 32, seed=9 + index))])
    received = []
    while len(received) < 3:
        received += ends.receive(request)
    assert [response.index for response, _ in received] == [-1, 1, 0]
    for response, tensor in received:
        assert tensor is not None
        assert torch.equal(tensor, noise(2, 64, 32, 32, seed=9 + response.index))


def test_headers_are_published_together_unless_their_payloads_must_be_fetched(
    ends: TransportEnds, residual: Redis, backend: BackendName
) -> None:
    request = ends.send_step()
    # Those in shared memory are published when there are enough of them, and the last in any case
    published = [1, 2, 3, 4] if backend == "redis" else [0, 0, 3, 3]

    def are_there(count: int) -> bool:
        return eventually(lambda: residual.llen(responses_key(request)) == count)

    def responses() -> Iterator[tuple[StepResponse, Tensor]]:
        for index, side in enumerate((32, 32, 128, 32)):
            yield make_response(index), noise(2, 64, side, side, seed=index)
            # What was published is not acknowledged yet; what was not can never be there.
            assert are_there(published[index])

    ends.controlnet.respond(request, responses())
    assert are_there(4)


def test_nothing_is_sent_to_a_job_that_is_past_the_step(ends: TransportEnds, residual: Redis) -> None:
    request = ends.send_step()
    later = ends.send_step(job_id=request.job_id, step=1)
    # When its worker responds too late, twice
    for index in range(2):
        ends.controlnet.respond(request, [(make_response(index), noise(2, 64, 32, 32))])
    # Then its responses are nowhere, and their memory is free for the next
    ends.transfer(later, noise(2, 64, 32, 32))
    assert left_over(residual) == []


def test_a_retried_step_still_takes_responses_to_the_request_before(ends: TransportEnds) -> None:
    request = ends.send_step()
    ends.send_step(job_id=request.job_id, retry=1)
    assert torch.equal(ends.transfer(request, noise(2, 64, 32, 32)), noise(2, 64, 32, 32))


def test_what_a_step_left_over_is_discarded_by_the_next(ends: TransportEnds, residual: Redis) -> None:
    # Given two residuals of which one was received
    request = ends.send_step()
    for index in range(2):
        ends.controlnet.respond(request, [(make_response(index), noise(2, 64, 32, 32, seed=index))])
    ends.receive(request)
    # When the job goes on
    later = ends.send_step(job_id=request.job_id, step=1)
    ends.transfer(later, noise(2, 64, 32, 32))
    # Then nothing of it is left
    assert left_over(residual) == []


def test_what_a_job_left_over_is_discarded_at_its_end(ends: TransportEnds, residual: Redis) -> None:
    request = ends.send_step()
    for index in range(3):
        ends.controlnet.respond(request, [(make_response(index), noise(2, 64, 32, 32, seed=index))])
    ends.receive(request)
    ends.unet.forget(request.job_id)
    assert left_over(residual) == []


def test_an_error_comes_in_place_of_a_payload_that_is_gone(
    ends: TransportEnds, residual: Redis, backend: BackendName
) -> None:
    request = ends.send_step()
    ends.controlnet.respond(request, [(make_response(3), noise(2, 64, 32, 32))])
    # The server ran full, or the writer died and its folder was removed.
    residual.delete(*residual.scan_iter(PAYLOADS)) if backend == "redis" else ends.controlnet.close()
    ((response, tensor),) = ends.receive(request)
    assert tensor is None
    assert (response.index, response.error) == (3, ResidualLost.code)


def test_workers_that_share_no_memory_use_redis(residual: Redis, servers: Settings) -> None:
    ends = TransportEnds([residual], servers)
    elsewhere = ends.unet.announce() | {"shared_memory": "another host's"}
    request = ends.send_step(reachable_by=elsewhere)
    ends.controlnet.respond(request, [(make_response(), noise(2, 64, 32, 32))])
    assert list(residual.scan_iter(PAYLOADS))
    ends.close()


def test_a_worker_announces_shared_memory_only_if_it_has_some(residual: Redis, servers: Settings) -> None:
    host = find_host_memory()
    assert host is not None
    assert TransportEnds([residual], servers).unet.announce()["shared_memory"] == host.token
    without = servers.model_copy(update={"shared_memory": "off"})
    assert "shared_memory" not in TransportEnds([residual], without).unet.announce()


def test_a_worker_shows_what_keeps_a_backend_from_carrying(residual: Redis, servers: Settings) -> None:
    host = find_host_memory()
    assert host is not None
    backend = SharedMemoryBackend(host, 1 << 60, 60.0, find_device("cpu"))
    ends = TransportEnds([residual], servers, [backend])
    assert ends.controlnet.warnings() == []
    backend.put(ends.send_step(), 0, torch.zeros(1, dtype=torch.uint8).expand(1 << 50))
    assert ends.controlnet.warnings() == backend.warnings() != []
    ends.close()


def frame(**changes: object) -> bytes:
    """A response as it lies in the list, with ``changes`` of its payload."""
    payload = {"dtype": "float32", "shape": [1], "backend": "inline", "location": {}, **changes}
    return pack_bytes({**make_response(1).model_dump(), "payload": payload}, bytes(4))


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"garbage",
        b"SDT1\xff\xff\xff\xff{}",
        pack_bytes({}),
        pack_bytes({**make_response().model_dump(), "positions": "all"}),
        frame(dtype="pickle"),
        frame(shape=[2]),
        frame(shape=[-1]),
        frame(backend="redis", location={"key": 3}),
        frame(location="here"),
    ],
)
def test_a_malformed_response_is_dropped_and_hides_no_other(
    ends: TransportEnds, residual: Redis, garbage: bytes
) -> None:
    request = ends.send_step()
    residual.rpush(responses_key(request), garbage)
    sent = noise(2, 4, 8, 8)
    ends.controlnet.respond(request, [(make_response(), sent)])
    received = []
    while not received:
        received = ends.receive(request)
    [(_, tensor)] = received
    assert tensor is not None
    assert torch.equal(tensor, sent)
    # And it is in the way of no later step
    residual.rpush(responses_key(request), garbage)
    later = ends.send_step(job_id=request.job_id, step=1)
    assert torch.equal(ends.transfer(later, sent), sent)


def test_what_is_received_over_redis_lies_in_registered_memory(residual: Redis, servers: Settings) -> None:
    device = FakeDevice()
    ends = TransportEnds([residual], servers.model_copy(update={"shared_memory": "off"}), device=device)
    request = ends.send_step()
    for seed in range(2):  # the same buffer twice
        received = ends.transfer(request, noise(2, 64, 32, 32, seed=seed))
        [(address, size_bytes)] = device.registered.items()
        assert address <= received.data_ptr() < address + size_bytes
        del received


def test_steps_of_the_catalogs_largest_controlnet_find_room_in_shared_memory(
    residual: Redis, servers: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given steps of five residuals of a megabyte, and no more room than they need
    residual.flushall()
    monkeypatch.setattr(transport_memory, "MIN_HOST_BYTES", 0)
    settings = servers.model_copy(update={"shared_memory": "auto"})
    ends = TransportEnds([residual], settings, step_bytes=5 << 20)
    # When four base models hold all that they were sent, and a fifth asks
    held, large = [], torch.zeros(1 << 18)
    for _ in range(5):
        request = ends.send_step()
        held += [ends.transfer(request, large, index) for index in range(5)]
    # Then only the fifth one's residuals travel more slowly
    assert ends.unet.received_residuals() == {"controlnet1@test": {"shared_memory": 20, "redis": 5}}
    ends.close()


def test_a_step_of_half_a_gigabyte_arrives_while_it_is_sent(ends: TransportEnds) -> None:
    # Given twelve residuals of 42 MB, as a transformer's tokens, and servers that hold a gigabyte
    count, request = 12, ends.send_step()
    tokens = torch.zeros(1, 4096, 5120, dtype=torch.bfloat16)

    def residuals() -> Iterator[tuple[StepResponse, Tensor]]:
        for index in range(count):
            yield make_response(index), tokens + index

    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(ends.controlnet.respond, request, residuals())
        arrived: list[int] = []
        while len(arrived) < count:
            for response, received in ends.receive(request):
                assert received is not None, response.detail
                assert received.shape == tokens.shape
                assert bool((received == response.index).all())
                arrived.append(response.index)
        assert sent.result() == count * tokens.nbytes
    assert arrived == list(range(count))
