"""LoRAs in a device's own memory: written without a wait, exact but for one rounding, and taken back."""

import gc
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from shared.errors import NonFiniteWeights
from tests.fake_device import FakeDevice
from tests.tiny_models import make_unet
from tests.workers.lora.patchers import device_writer
from tests.workers.lora.test_patch_switches import random_lora
from workers.devices.base import Device
from workers.lora.lora_weights import LoraWeights
from workers.lora.patch import Patcher
from workers.lora.weight_delta import WeightDelta

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


class NoWaits(TorchDispatchMode):
    """Fails where a computation asks a device for a number."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        assert "_local_scalar_dense" not in str(func), "a number of the device is asked for"
        return func(*args, **(kwargs or {}))


class Layer(nn.Module):
    """One linear layer, or convolution."""

    def __init__(self, shape: tuple[int, ...] = (24, 40), dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.weight = nn.Parameter((torch.randn(shape) * 0.05).to(dtype), requires_grad=False)


def lora(name: str, a: Tensor, b: Tensor, shape: Sequence[int], *, scaling: float = 0.5) -> LoraWeights:
    delta = WeightDelta({"a": a, "b": b}, torch.Size(shape), scaling)
    return LoraWeights(name, {"unet": {"weight": delta}})


def random_loras(
    count: int, shape: Sequence[int] = (24, 40), dtype: torch.dtype = torch.float16
) -> list[tuple[LoraWeights, float]]:
    torch.manual_seed(2)
    factors = [(torch.randn(8, *shape[1:]), torch.randn(shape[0], 8)) for _ in range(count)]
    return [
        (lora(f"lora{i}", (a * 0.1).to(dtype), (b * 0.1).to(dtype), shape), 0.7 + 0.37 * i)
        for i, (a, b) in enumerate(factors)
    ]


def exact(weight: Tensor, loras: Sequence[tuple[LoraWeights, float]]) -> tuple[Tensor, Tensor]:
    """The patched weight in float64, and the sum of the magnitudes of all that was added."""
    total, reach = weight.double(), torch.zeros_like(weight, dtype=torch.float64)
    for one, scale in loras:
        delta = one.delta(("unet", "weight"))
        a, b = delta.tensors["a"].double().flatten(1), delta.tensors["b"].double().flatten(1)
        total = total + scale * delta.scaling * (b @ a).view(weight.shape)
        reach += abs(scale * delta.scaling) * (b.abs() @ a.abs()).view(weight.shape)
    return total, reach


@pytest.fixture
def fake() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def make(fake: FakeDevice) -> Callable[[nn.Module], Patcher]:
    return lambda module: Patcher({"unet": module}, writer=device_writer({"unet": module}, fake))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(24, 40), (24, 6, 3, 3)])
def test_a_weight_is_rounded_once_whatever_the_files_store(
    make: Callable[[nn.Module], Patcher],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    stored: torch.dtype,
    count: int,
) -> None:
    layer, loras = Layer(shape, dtype), random_loras(count, shape, stored)
    expected, reach = exact(layer.weight, loras)
    make(layer).apply(loras)
    eps = torch.finfo(dtype).eps
    # What high and low of a factor do not hold, and the order of float32 sums
    lost = (eps**2 / 4 + 2**-20) * reach
    assert ((layer.weight.double() - expected).abs() <= 0.5 * eps * expected.abs() + lost).all()


@pytest.mark.parametrize("factor", [1e-30, 1e6])
def test_small_and_large_factors_survive_in_half_precision(
    make: Callable[[nn.Module], Patcher], factor: float
) -> None:
    layer, (one, *_) = Layer(dtype=torch.float16), random_loras(1, dtype=torch.float32)
    tensors = one[0].delta(("unet", "weight")).tensors
    other = lora("other", tensors["a"] * factor, tensors["b"] / factor, (24, 40))
    expected, _ = exact(layer.weight, [one])
    make(layer).apply([(other, one[1])])
    assert torch.allclose(layer.weight.double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_lora_is_written_as_on_a_cpu(fake: FakeDevice, dtype: torch.dtype) -> None:
    on_cpu, on_device = (make_unet().to(dtype) for _ in range(2))
    on_device.load_state_dict(on_cpu.state_dict())
    choice = random.Random(3)
    torch.manual_seed(3)
    loras = [(random_lora(on_cpu, f"lora{i}", choice), 0.4) for i in range(12)]
    Patcher({"unet": on_cpu}).apply(loras)
    Patcher({"unet": on_device}, writer=device_writer({"unet": on_device}, fake)).apply(loras)
    eps = torch.finfo(dtype).eps
    for (name, one), other in zip(on_cpu.named_parameters(), on_device.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1.01 * eps, atol=max(1e-5, 2 * eps**2)), name


def test_the_loop_only_submits_and_waits_for_nothing(
    fake: FakeDevice, make: Callable[[nn.Module], Patcher]
) -> None:
    # Given two LoRAs that their threads have prepared
    patcher, loras = make(Layer(dtype=torch.float16)), random_loras(2)
    for one, _ in loras:
        patcher.prepare(one)
    patcher.prepare_patch(loras)
    fake.log.clear()
    # When they are patched, replaced and taken back
    with NoWaits():
        patcher.apply(loras)
        patcher.apply(loras[:1])
        patcher.restore()
    # Then nobody waited
    assert [line for line in fake.log if "wait" in line or "synchronize" in line] == []


def test_no_kind_of_lora_makes_the_loop_wait(fake: FakeDevice, make: Callable[[nn.Module], Patcher]) -> None:
    unet = make_unet().half()
    choice, patcher = random.Random(3), make(unet)
    loras = [(random_lora(unet, f"lora{i}", choice), 0.4) for i in range(12)]
    for one, _ in loras:
        patcher.prepare(one)
    fake.log.clear()
    with NoWaits():
        patcher.apply(loras)
        patcher.restore()
    assert [line for line in fake.log if "wait" in line or "synchronize" in line] == []


def test_what_a_side_stream_makes_is_followed_before_it_is_used(
    fake: FakeDevice, make: Callable[[nn.Module], Patcher]
) -> None:
    patcher, loras = make(Layer(dtype=torch.float16)), random_loras(2)
    for one, _ in loras:
        patcher.prepare(one)
    patcher.prepare_patch(loras)
    made = [line.split()[1] for line in fake.log if line.endswith("on weights")]
    fake.log.clear()
    patcher.apply(loras)
    followed = [line.split()[-1] for line in fake.log if line.startswith("compute follows")]
    assert len(followed) == 3  # both LoRAs, and their combination
    assert set(followed) <= set(made)


def test_a_patch_that_was_prepared_has_the_same_bits(make: Callable[[nn.Module], Patcher]) -> None:
    layers, loras = [Layer(dtype=torch.float16) for _ in range(2)], random_loras(3)
    for is_prepared, layer in enumerate(layers):
        patcher = make(layer)
        if is_prepared:
            for one, _ in loras:
                patcher.prepare(one)
            patcher.prepare_patch(loras[:2])
            patcher.prepare_patch(loras)
        patcher.apply(loras)
    assert torch.equal(layers[0].weight, layers[1].weight)


def test_a_patch_that_was_prepared_for_other_scales_is_not_used(make: Callable[[nn.Module], Patcher]) -> None:
    layers, loras = [Layer(dtype=torch.float16) for _ in range(2)], random_loras(2)
    patchers = [make(layer) for layer in layers]
    patchers[0].prepare_patch([(one, 1.5 * scale) for one, scale in loras])
    for patcher in patchers:
        patcher.apply(loras)
    assert torch.equal(layers[0].weight, layers[1].weight)


def test_weights_keep_their_addresses(make: Callable[[nn.Module], Patcher]) -> None:
    layer, loras = Layer(), random_loras(2)
    address, patcher = layer.weight.data_ptr(), make(layer)
    for wanted in (loras, loras[:1], []):
        patcher.apply(wanted)
        assert layer.weight.data_ptr() == address


def test_a_spoiled_weight_is_told_once_the_device_has_looked(
    fake: FakeDevice, make: Callable[[nn.Module], Patcher]
) -> None:
    layer, loras = Layer(dtype=torch.float16), random_loras(1)
    base, patcher = layer.weight.clone(), make(layer)
    bad = lora("bad", torch.full((1, 40), 6e4).half(), torch.ones(24, 1).half(), (24, 40))
    for _ in range(2):
        # The job goes on until it is known
        patcher.prepare(bad)
        patcher.apply([*loras, (bad, 100.0)])
        patcher.check_known()
        with pytest.raises(NonFiniteWeights, match=r"1 weights are NaN or infinite, such as unet\.weight"):
            patcher.check_finite()
        assert patcher.patched == ()
    patcher.restore()
    assert torch.equal(layer.weight, base)
    # Nothing is held against those that follow
    patcher.apply(loras)
    patcher.check_finite()


def test_a_spoiled_weight_is_found_at_the_next_step(
    fake: FakeDevice, make: Callable[[nn.Module], Patcher]
) -> None:
    patcher = make(Layer(dtype=torch.float16))
    bad = lora("bad", torch.full((1, 40), 6e4).half(), torch.ones(24, 1).half(), (24, 40))
    patcher.apply([(bad, 100.0)])
    fake.finish()
    fake.log.clear()
    with pytest.raises(NonFiniteWeights):
        patcher.check_known()
    assert fake.log == []


def test_a_weight_that_was_written_since_is_not_held_against_the_next_job(
    make: Callable[[nn.Module], Patcher],
) -> None:
    layer, loras = Layer(dtype=torch.float16), random_loras(1)
    patcher = make(layer)
    bad = lora("bad", torch.full((1, 40), 6e4).half(), torch.ones(24, 1).half(), (24, 40))
    patcher.apply([(bad, 100.0)])
    patcher.apply(loras)
    patcher.check_finite()
    assert all(weight.isfinite().all() for weight in layer.parameters())


def test_the_memory_of_a_lora_is_counted_and_goes_with_it(make: Callable[[nn.Module], Patcher]) -> None:
    patcher, loras = make(Layer(dtype=torch.float16)), random_loras(2)
    for one, _ in loras:
        patcher.prepare(one)
    patcher.prepare_patch(loras)
    pristine_bytes = patcher.pristine_bytes
    assert pristine_bytes == 24 * 40 * 2
    factors_bytes = sum(one.nbytes for one, _ in loras)
    assert patcher.device_bytes >= pristine_bytes + 3 * factors_bytes  # they, and their combination
    patcher.apply(loras)
    assert patcher.device_bytes < pristine_bytes + 3 * factors_bytes
    del one
    loras.clear()
    gc.collect()
    assert patcher.device_bytes == pristine_bytes


def test_released_memory_is_made_again_where_it_is_needed(make: Callable[[nn.Module], Patcher]) -> None:
    layers, loras = [Layer(dtype=torch.float16) for _ in range(2)], random_loras(2)
    patchers = [make(layer) for layer in layers]
    for patcher in patchers:
        for one, _ in loras:
            patcher.prepare(one)
    patchers[0].release_cached()
    assert patchers[0].device_bytes == patchers[0].pristine_bytes
    for patcher in patchers:
        patcher.apply(loras)
    assert torch.equal(layers[0].weight, layers[1].weight)


# --- on a GPU ----------------------------------------------------------------------------------------


class Transformer(nn.Module):
    """As many weights of SDXL's sizes as fit a test: 60 blocks of attention and feed-forward, 2 GB."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        sizes = [(1280, 1280)] * 6 + [(1280, 2048)] * 2 + [(5120, 1280), (1280, 2560)]
        options: dict[str, Any] = {"device": device.torch_device, "dtype": torch.float16}
        self.layers = nn.ParameterList(
            nn.Parameter(torch.randn(size, **options) * 0.02, requires_grad=False) for size in sizes * 60
        )


def large_lora(model: Transformer, name: str, allocate: Callable[[int], Tensor]) -> LoraWeights:
    deltas = {}
    for key, weight in model.named_parameters():
        rows, columns = weight.shape
        factors = {"a": torch.randn(64, columns).half() * 0.05, "b": torch.randn(rows, 64).half() * 0.01}
        deltas[key] = WeightDelta(factors, weight.shape, 1.0)
    return LoraWeights(name, {"unet": deltas}).pack(allocate)


@pytest.fixture
def without_syncs(cuda: Device) -> Iterator[Callable[[], None]]:
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("place", ["device", "host"])
def test_a_gpu_is_patched_and_restored_without_a_wait(
    cuda: Device, without_syncs: Callable[[], None], place: Any
) -> None:
    model = Transformer(cuda)
    base = [weight.clone() for weight in model.parameters()]
    patcher = Patcher({"unet": model})
    patcher.keep_pristine(place)
    one, other = (large_lora(model, name, cuda.pinned) for name in ("one", "other"))
    wanted = [(one, 0.8), (other, -0.5)]
    for weights, _ in wanted:
        patcher.prepare(weights)
    patcher.prepare_patch(wanted)
    assert (patcher.device_bytes > patcher.pristine_bytes) or place == "host"
    without_syncs()
    patcher.apply(wanted[:1])
    patcher.apply(wanted)
    torch.cuda.set_sync_debug_mode("default")
    patcher.check_finite()
    for key, weight in list(model.named_parameters())[::37]:
        expected = base[int(key.removeprefix("layers."))].double()
        for weights, scale in wanted:
            factors = weights.delta(("unet", key)).tensors
            a, b = (factors[role].to(cuda.torch_device).double() for role in ("a", "b"))
            expected += scale * (b @ a)
        assert torch.allclose(weight.double(), expected, rtol=0.51 * 2**-10, atol=1e-6), key
    without_syncs()
    patcher.restore()
    torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), base, strict=True))


def test_no_kind_of_lora_makes_a_gpu_wait(cuda: Device, without_syncs: Callable[[], None]) -> None:
    on_cpu, on_gpu = (make_unet().half() for _ in range(2))
    on_gpu.load_state_dict(on_cpu.state_dict())
    base = {name: weight.clone() for name, weight in on_cpu.state_dict().items()}
    on_gpu = on_gpu.to(cuda.torch_device)
    choice = random.Random(3)
    loras = [(random_lora(on_cpu, f"lora{i}", choice), 0.4) for i in range(12)]
    Patcher({"unet": on_cpu}).apply(loras)
    patcher = Patcher({"unet": on_gpu})
    for one, _ in loras:
        patcher.prepare(one)
    without_syncs()
    patcher.apply(loras)
    torch.cuda.set_sync_debug_mode("default")
    for (name, one), other in zip(on_cpu.named_parameters(), on_gpu.parameters(), strict=True):
        assert torch.allclose(one, other.cpu(), rtol=1.01 * 2**-10, atol=1e-5), name
    without_syncs()
    patcher.restore()
    torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(weight.cpu(), base[name]) for name, weight in on_gpu.state_dict().items())


def test_a_gpu_is_written_while_another_thread_prepares(cuda: Device) -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = Transformer(cuda)
    base = [weight.clone() for weight in model.parameters()]
    patcher = Patcher({"unet": model})
    one, other = (large_lora(model, name, cuda.pinned) for name in ("one", "other"))
    patcher.prepare(one)
    with ThreadPoolExecutor(1) as pool:
        prepared = pool.submit(patcher.prepare, other)
        for scale in (0.5, 1.0, 0.25):
            patcher.apply([(one, scale)])
        prepared.result()
    patcher.apply([(other, 1.0)])
    patcher.restore()
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), base, strict=True))
