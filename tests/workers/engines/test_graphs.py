"""The engine ``graphs``, with graphs of a CPU that see no memory but that which they were captured with."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fake_graphs import FakeGraphPool, GraphDevice
from workers.devices.graphs import CaptureBusy
from workers.devices.streamless import CPUDevice
from workers.engines.base import ForwardPass, Tensors
from workers.engines.eager import EagerForward
from workers.engines.graphs import MAX_SEEN, GraphEngine

WEIGHT = torch.arange(9.0).view(3, 3) / 7


class Linear:
    """A stage with a weight, which adds its second input and multiplies by a constant if there is one."""

    def __init__(self) -> None:
        self.weight = WEIGHT.clone()
        self.calls = 0

    def __call__(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        self.calls += 1
        x, more = inputs
        assert x is not None
        y = x @ self.weight if more is None else x @ self.weight + more
        return (y * constants[0] if constants and constants[0] is not None else y, torch.relu(y))


class Chain:
    """A forward of three stages; the last one takes outputs of both others."""

    def __init__(self, device: Any = None, **options: Any) -> None:
        self.device = device or GraphDevice()
        self.engine = GraphEngine(self.device, "chain", **options)
        self.first, self.second, self.last = Linear(), Linear(), Linear()

    @property
    def pool(self) -> FakeGraphPool:
        pool: FakeGraphPool = self.device.pools[0]
        return pool

    def forward(self, x: Tensor, scale: Tensor, residual: Tensor | None = None) -> Tensor:
        run = self.engine.begin()
        try:
            return run.keep(self.compute(run, x, scale, residual))
        finally:
            run.end()

    def compute(self, run: ForwardPass, x: Tensor, scale: Tensor, residual: Tensor | None) -> Tensor:
        a, skip = run(self.first, [x, None], [scale])
        b, _ = run(self.second, [a, residual], [scale])
        return run(self.last, [b, skip])[0]

    def expected(self, x: Tensor, scale: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.compute(EagerForward(), x, scale, residual)


def numbers(seed: int, rows: int = 2) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_a_shape_is_captured_when_it_is_seen_for_the_second_time(chain: Chain) -> None:
    scale = numbers(9)
    for seed, captured in enumerate([0, 3, 3, 3]):
        assert torch.equal(chain.forward(numbers(seed), scale), chain.expected(numbers(seed), scale))
        assert len(chain.pool.graphs) == captured
    assert chain.pool.replays == 3 * 3
    assert chain.engine.name == "graphs"


def test_outputs_are_the_buffers_of_the_stages_that_take_them(chain: Chain) -> None:
    scale = numbers(9)
    for seed in range(3):
        chain.forward(numbers(seed), scale)
    first, second, last = chain.pool.graphs
    read_by_second = {id(one) for call in second.recording._calls for one in call[1]}
    assert {id(first.outputs[0])} <= read_by_second
    assert {id(one) for one in (second.outputs[0], first.outputs[1])} <= {
        id(one) for call in last.recording._calls for one in call[1]
    }


def test_an_inputs_memory_may_be_gone_after_the_run(chain: Chain) -> None:
    scale = numbers(9)
    for seed in range(5):
        x = numbers(seed)
        result = chain.forward(x, scale)
        expected = chain.expected(x, scale)
        x.fill_(float("nan"))
        del x
        assert torch.equal(result, expected)


def test_a_constant_is_copied_when_it_is_another_tensor(chain: Chain) -> None:
    scales = [numbers(20), numbers(21)]
    for seed in range(8):  # two jobs whose steps alternate
        scale = scales[seed % 2]
        assert torch.equal(chain.forward(numbers(seed), scale), chain.expected(numbers(seed), scale))
    assert len(chain.pool.graphs) == 3


def test_a_new_constant_is_not_taken_for_one_that_was_freed(chain: Chain) -> None:
    for seed in range(20):
        scale = numbers(100 + seed)  # most likely at the address of the last one
        assert torch.equal(chain.forward(numbers(seed), scale), chain.expected(numbers(seed), scale))
        freed = weakref.ref(scale)
        del scale
        assert freed() is None


def test_weights_that_are_written_in_place_count(chain: Chain) -> None:
    scale = numbers(9)
    for seed in range(6):
        if seed >= 3:
            chain.second.weight.mul_(1.5)
        assert torch.equal(chain.forward(numbers(seed), scale), chain.expected(numbers(seed), scale))


def test_steps_with_and_without_residuals_alternate(chain: Chain) -> None:
    scale = numbers(9)
    for seed in range(12):
        residual = None if seed % 3 else numbers(50 + seed)
        result = chain.forward(numbers(seed), scale, residual)
        assert torch.equal(result, chain.expected(numbers(seed), scale, residual))
    # The last stage is older than the second with a residual, so it was captured again: once.
    assert len(chain.pool.graphs) == 3 + 2


def test_a_stage_that_was_seen_at_another_shape_is_not_captured_before_its_predecessor(chain: Chain) -> None:
    # Given stages after the first that are alike at two shapes of the first one's input
    scale = numbers(9)

    def forward(seed: int, x: Tensor) -> None:
        assert torch.equal(chain.forward(x, scale), chain.expected(x, scale))

    for seed in range(4):
        forward(seed, numbers(seed))
    for seed in range(4):  # another layout in memory, with the same outputs
        forward(seed, numbers(seed).T.contiguous().T)
    assert len(chain.pool.graphs) == 6


def test_several_shapes_stay_captured_and_the_oldest_goes() -> None:
    chain = Chain(max_shapes=2)
    for rows in (1, 2, 3, 1, 2, 3, 1):
        scale = numbers(9, rows)
        for seed in range(3):
            result = chain.forward(numbers(seed, rows), scale)
            assert torch.equal(result, chain.expected(numbers(seed, rows), scale))
    # The first time each is captured at its second run, after it has gone at its first.
    assert len(chain.pool.graphs) == 3 * 7


def test_shapes_that_were_seen_once_are_forgotten_in_time(chain: Chain) -> None:
    for rows in range(1, MAX_SEEN):
        chain.forward(numbers(0, rows), numbers(9, rows))
    chain.forward(numbers(0, 1), numbers(9, 1))
    assert not chain.pool.graphs


def test_a_second_forward_under_way_touches_no_buffer_of_the_first(chain: Chain) -> None:
    scale = numbers(9)
    for seed in range(3):
        chain.forward(numbers(seed), scale)
    run = chain.engine.begin()
    a, skip = run(chain.first, [numbers(1), None], [scale])
    assert torch.equal(chain.forward(numbers(2), scale), chain.expected(numbers(2), scale))
    b, _ = run(chain.second, [a, None], [scale])
    assert torch.equal(run(chain.last, [b, skip])[0], chain.expected(numbers(1), scale))


def test_a_forward_that_was_given_up_hinders_none(chain: Chain) -> None:
    scale = numbers(9)
    for seed in range(3):
        chain.forward(numbers(seed), scale)
    run = chain.engine.begin()
    run(chain.first, [numbers(1), None], [scale])
    del run
    before = chain.pool.replays
    chain.forward(numbers(2), scale)
    assert chain.pool.replays == before + 3


def test_what_is_kept_is_not_written_by_the_next_forward(chain: Chain) -> None:
    scale = numbers(9)
    for seed in range(3):
        kept = chain.forward(numbers(seed), scale)
    chain.forward(numbers(7), scale)
    assert torch.equal(kept, chain.expected(numbers(2), scale))


def test_a_graph_with_other_bits_makes_the_engine_eager(
    chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    scale = numbers(9)

    def spoil(graph: Any) -> None:
        recorded = graph.recording.run

        def run() -> None:
            recorded()
            graph.outputs[0].mul_(1 + 2**-20)

        graph.recording.run = run

    chain.pool.spoil = spoil
    for seed in range(3):
        assert torch.equal(chain.forward(numbers(seed), scale), chain.expected(numbers(seed), scale))
    assert chain.engine.name == "eager"
    assert chain.engine.fallback_reason == "a graph of Linear has other bits than eager kernels"
    assert "CUDA graphs given up" in caplog.text
    assert chain.engine.nbytes == 0


def test_a_stage_that_cannot_be_captured_makes_the_engine_eager(chain: Chain) -> None:
    scale = numbers(9)
    chain.forward(numbers(0), scale)
    chain.pool.error = RuntimeError("CUDA out of memory\nwith a long explanation")
    assert torch.equal(chain.forward(numbers(1), scale), chain.expected(numbers(1), scale))
    assert chain.engine.fallback_reason == "RuntimeError: CUDA out of memory"
    assert chain.engine.name == "eager"


@pytest.mark.parametrize("pause_s", [600.0, 0.0])
def test_a_capture_without_memory_makes_the_engine_eager_for_a_while(pause_s: float) -> None:
    chain, scale = Chain(pause_s=pause_s), numbers(9)
    chain.forward(numbers(0), scale)
    chain.pool.error = torch.OutOfMemoryError("CUDA out of memory")
    assert torch.equal(chain.forward(numbers(1), scale), chain.expected(numbers(1), scale))
    is_paused = pause_s > 0
    assert (chain.engine.fallback_reason is not None) == is_paused
    assert chain.engine.name == ("eager" if is_paused else "graphs")
    chain.pool.error = None
    for seed in (2, 3):
        assert torch.equal(chain.forward(numbers(seed), scale), chain.expected(numbers(seed), scale))
    assert bool(chain.pool.graphs) != is_paused


def test_while_a_model_is_loaded_nothing_is_captured(chain: Chain) -> None:
    scale = numbers(9)
    chain.forward(numbers(0), scale)
    chain.pool.error = CaptureBusy()
    assert torch.equal(chain.forward(numbers(1), scale), chain.expected(numbers(1), scale))
    assert chain.engine.name == "graphs"
    chain.pool.error = None
    chain.forward(numbers(2), scale)
    assert chain.pool.graphs


def test_after_a_release_graphs_share_other_memory(chain: Chain) -> None:
    for seed in range(2):
        chain.forward(numbers(seed), numbers(9))
    chain.engine.release()
    assert chain.pool.renewals == 1


def test_a_nan_is_equal_to_itself(chain: Chain) -> None:
    scale, x = numbers(9), torch.full((2, 3), float("nan"))
    for _ in range(3):
        chain.forward(x, scale)
    assert chain.engine.name == "graphs"


def test_a_device_without_graphs_is_eager_from_the_start() -> None:
    engine = GraphEngine(CPUDevice(torch.device("cpu")), "model")
    assert engine.name == "eager"
    assert engine.fallback_reason == "the device records no graphs"
    assert isinstance(engine.begin(), EagerForward)


def test_what_is_released_is_captured_again_at_once(chain: Chain) -> None:
    scale = numbers(9)
    for seed in range(2):
        chain.forward(numbers(seed), scale)
    assert chain.engine.nbytes > 0
    chain.engine.release()
    assert chain.engine.nbytes == 0
    assert torch.equal(chain.forward(numbers(3), scale), chain.expected(numbers(3), scale))
    assert len(chain.pool.graphs) == 6


def test_no_run_writes_to_what_it_is_given(chain: Chain) -> None:
    given = [(numbers(seed), numbers(9 + seed), numbers(50 + seed)) for seed in range(4)]
    copies = [tuple(one.clone() for one in ones) for ones in given]
    for ones in given:
        chain.forward(*ones)
    assert all(
        torch.equal(one, copy)
        for ones, before in zip(given, copies, strict=True)
        for one, copy in zip(ones, before, strict=True)
    )
