"""Which backend carries a residual: the first that fits it, reaches the reader and has space."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY
from redis import Redis

from shared.errors import ResidualLost, ResidualServersFull
from shared.settings import Settings
from tests.fake_device import FakeDevice
from tests.workers.transport.backends.host_slabs import HostSlabs
from tests.workers.transport.backends.in_memory import InMemoryBackend
from tests.workers.transport.transport_ends import TransportEnds, make_request, make_response, noise
from tests.workers.unet.jobs import control, pixels, run
from tests.workers.unet.specs import spec
from workers.devices.selection import find_device
from workers.devices.slabs import DeviceSlabs
from workers.transport.backends.base import TransportBackend
from workers.transport.backends.inline import INLINE_BYTES, InlineBackend
from workers.transport.backends.selection import BackendSet, build_backends
from workers.transport.protocol import Payload
from workers.transport.redis_client.pool import ConnectionPool
from workers.transport.wire import InvalidFrame
from workers.unet.worker import UNetWorker

CPU = find_device("cpu")
EVERYWHERE = {"inline": "", "in_memory": "here"}


def sent_by() -> dict[str, float]:
    """Residuals sent until now, by backend."""
    names = ("inline", "shared_memory", "redis", "in_memory")
    return {
        name: REGISTRY.get_sample_value("swift_residuals_total", {"backend": name}) or 0.0 for name in names
    }


def since(before: dict[str, float]) -> dict[str, float]:
    """Residuals sent since ``before``, by backends that have sent any."""
    return {name: count - before[name] for name, count in sent_by().items() if count > before[name]}


@pytest.mark.parametrize(
    ("reachable_by", "size_bytes", "chosen"),
    [
        (EVERYWHERE, INLINE_BYTES, ["inline", "in_memory"]),
        (EVERYWHERE, INLINE_BYTES + 1, ["in_memory"]),
        ({"inline": ""}, INLINE_BYTES, ["inline"]),
        ({"inline": "", "in_memory": "elsewhere"}, INLINE_BYTES, ["inline"]),
        ({}, INLINE_BYTES, []),
    ],
    ids=["small", "too large for one", "not announced", "out of reach", "no backend"],
)
def test_a_backend_is_chosen_by_size_and_by_what_the_reader_announces(
    reachable_by: dict[str, str], size_bytes: int, chosen: list[str]
) -> None:
    backends = BackendSet([InlineBackend(CPU), InMemoryBackend()])
    request = make_request(reachable_by=reachable_by)
    assert [backend.name for backend in backends.choose(request, size_bytes)] == chosen


@pytest.mark.parametrize("shape", [[], [4], [0, 4, 2], [2, 0, 2]])
def test_an_int8_payload_without_rows_or_channels_is_an_invalid_frame(shape: list[int]) -> None:
    backends = BackendSet([InMemoryBackend()])
    payload = Payload(dtype="float32", shape=shape, precision="int8", backend="in_memory", location={})
    with pytest.raises(InvalidFrame, match="rows and channels"):
        backends.get(payload, memoryview(b""))
    with pytest.raises(InvalidFrame, match="rows and channels"):
        backends.discard(payload)


def test_the_settings_decide_which_backends_there_are(residual: Redis, servers: Settings) -> None:
    def names(shared_memory: str) -> list[str]:
        settings = servers.model_copy(update={"shared_memory": shared_memory})
        return [backend.name for backend in build_backends(ConnectionPool([residual]), settings, CPU)]

    assert names("auto") == ["inline", "shared_memory", "redis"]
    assert names("off") == ["inline", "redis"]


class SharingDevice(FakeDevice):
    """Its memory can be opened by other processes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._slabs = HostSlabs(folder)

    def slabs(self) -> DeviceSlabs:
        return self._slabs


@pytest.mark.parametrize(
    ("gpu_shared", "shared_memory", "names"),
    [
        ("auto", "auto", ["inline", "cuda_ipc", "shared_memory", "redis"]),
        ("auto", "off", ["inline", "cuda_ipc", "redis"]),
        ("off", "auto", ["inline", "shared_memory", "redis"]),
    ],
)
def test_a_device_whose_memory_can_be_shared_is_preferred_to_shared_memory(
    gpu_shared: str, shared_memory: str, names: list[str], residual: Redis, servers: Settings, tmp_path: Path
) -> None:
    settings = servers.model_copy(update={"gpu_shared": gpu_shared, "shared_memory": shared_memory})
    backends = build_backends(ConnectionPool([residual]), settings, SharingDevice(tmp_path))
    assert [backend.name for backend in backends] == names
    for backend in backends:
        backend.close()


@pytest.mark.usefixtures("pristine")
@pytest.mark.parametrize("precision", ["exact", "int8"])
def test_a_job_with_two_controlnets_is_served_over_a_plugged_in_backend(
    precision: str, make_worker: Callable[..., UNetWorker]
) -> None:
    # Given the image of a worker that computes the ControlNets itself
    alone = make_worker(serve_controlnets=False, residual_timeout_s=0.2)
    wanted = spec(
        controlnets=[control(alone, conditioning_scale=0.5), control(alone, conditioning_scale=0.3)],
        num_inference_steps=3,
        residual_precision=precision,
    )
    expected = pixels(alone, run(alone, wanted))
    # When a ControlNet worker serves them over a backend that only this test knows
    backend = InMemoryBackend()
    worker, before = make_worker(preferred_backends=[backend]), sent_by()
    image = pixels(worker, run(worker, wanted))
    # Then every residual goes through it, and the image is the same
    assert np.array_equal(image, expected)
    assert since(before) == {"in_memory": backend.received + backend.discarded}
    assert backend.received > 0
    assert backend.held == {}


@pytest.mark.usefixtures("pristine")
def test_the_next_backend_carries_what_a_full_one_has_no_space_for(
    make_worker: Callable[..., UNetWorker],
) -> None:
    alone = make_worker(serve_controlnets=False, residual_timeout_s=0.2)
    wanted = spec(controlnets=[control(alone), control(alone)], num_inference_steps=2)
    expected = pixels(alone, run(alone, wanted))
    backend = InMemoryBackend(capacity=2)
    worker, before = make_worker(preferred_backends=[backend]), sent_by()
    image = pixels(worker, run(worker, wanted))
    assert np.array_equal(image, expected)
    assert since(before).keys() == {"in_memory", "inline", "shared_memory"}
    assert backend.received > 0


def make_ends(residual: Redis, servers: Settings, backends: Sequence[TransportBackend]) -> TransportEnds:
    residual.flushall()
    return TransportEnds([residual], servers, backends)


def test_a_payload_whose_copy_fails_is_discarded_and_hides_no_other(
    residual: Redis, servers: Settings
) -> None:
    backend = InMemoryBackend(fails=True)
    ends = make_ends(residual, servers, [InlineBackend(CPU), backend])
    request = ends.send_step()
    small, large = noise(2, 4, 8, 8), noise(2, 64, 32, 32)
    responses = [(make_response(-1), small), (make_response(1), large), (make_response(0), small)]
    ends.controlnet.respond(request, responses)
    assert [response.index for response, _ in ends.receive(request)] == [-1, 0]
    assert (backend.discarded, backend.held) == (1, {})


def test_payloads_of_a_job_that_is_past_the_step_are_discarded(residual: Redis, servers: Settings) -> None:
    backend = InMemoryBackend()
    ends = make_ends(residual, servers, [backend])
    request = ends.send_step()
    ends.send_step(job_id=request.job_id, step=1)
    # When two are sent too late: the second publication reads the acknowledgement of the first
    for index in range(2):
        ends.controlnet.respond(request, [(make_response(index), noise(2, 64, 32, 32))])
    assert backend.discarded == 1


def test_an_error_comes_in_place_of_a_residual_that_no_backend_has_space_for(
    residual: Redis, servers: Settings
) -> None:
    ends = make_ends(residual, servers, [InMemoryBackend(capacity=0)])
    request = ends.send_step()
    assert ends.controlnet.respond(request, [(make_response(), noise(2, 8))]) == 0
    [(response, tensor)] = ends.receive(request)
    assert tensor is None
    assert response.error == ResidualServersFull.code


def test_a_payload_of_a_backend_that_the_reader_lacks_is_lost(residual: Redis, servers: Settings) -> None:
    writer, reader = InMemoryBackend(), InlineBackend(CPU)
    request = (ends := make_ends(residual, servers, [writer])).send_step()
    ends.controlnet.respond(request, [(make_response(), noise(2, 8))])
    other = TransportEnds([residual], servers, [reader])
    [(response, _)] = other.receive(request)
    assert response.error == ResidualLost.code
    assert "'in_memory'" in response.detail
