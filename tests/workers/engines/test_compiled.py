"""The engine ``compile``, on a CPU: which stages are compiled, and what happens where none can be."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config
from torch import Tensor

from workers.engines.base import Tensors
from workers.engines.compiled import MAX_LAYOUTS, CompileEngine
from workers.engines.eager import EAGER
from workers.engines.selection import Engines

SCALE = torch.full((3,), 2.0)
#: Settings of inductor: no trial compilation for each set of vector instructions, and no headers in advance.
SCALAR = {"cpp.vec_isa_ok": False, "cpp_cache_precompile_headers": False}


class Stage:
    def __init__(self) -> None:
        self.weight = torch.arange(9.0).view(3, 3) / 7

    def __call__(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        (x,) = inputs
        assert x is not None
        assert constants[0] is not None
        return (torch.nn.functional.silu(x @ self.weight) * constants[0],)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # put back afterwards
    return tmp_path / "compiled"


def run(engine: CompileEngine, stage: Any, rows: int) -> Tensor:
    forward = engine.begin()
    (result,) = forward(stage, [torch.ones(rows, 3)], [SCALE])
    return forward.keep(result)


def test_a_layout_is_compiled_at_its_second_run_and_only_so_many(folder: Path) -> None:
    engine, stage = CompileEngine("model", folder, backend="eager"), Stage()
    for rows in range(1, MAX_LAYOUTS + 3):
        run(engine, stage, rows)
    assert engine.prepared_stages == 0
    for rows in range(1, MAX_LAYOUTS + 3):
        for _ in range(2):
            expected = stage([torch.ones(rows, 3)], [SCALE])[0]
            assert torch.allclose(run(engine, stage, rows), expected)
    assert engine.prepared_stages == MAX_LAYOUTS
    run(engine, Stage(), 1)
    run(engine, other := Stage(), 1)
    run(engine, other, 1)
    assert engine.prepared_stages == MAX_LAYOUTS + 1  # each stage by itself


def test_weights_that_are_patched_in_place_count(folder: Path) -> None:
    engine, stage = CompileEngine("model", folder, backend="aot_eager"), Stage()
    before = [run(engine, stage, 2) for _ in range(3)][-1]
    stage.weight.mul_(3)
    after = run(engine, stage, 2)
    assert not torch.allclose(after, before)
    assert torch.allclose(after, stage([torch.ones(2, 3)], [SCALE])[0])
    assert engine.prepared_stages == 1


def test_a_stage_that_cannot_be_compiled_makes_the_engine_eager(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Branching(Stage):
        def __call__(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
            (y,) = super().__call__(inputs, constants)
            return (y if y.sum().item() > 0 else -y,)

    engine, stage = CompileEngine("model", folder, backend="aot_eager"), Branching()
    for _ in range(3):
        assert torch.equal(run(engine, stage, 2), stage([torch.ones(2, 3)], [SCALE])[0])
    assert engine.name == "eager"
    assert engine.fallback_reason
    assert "\n" not in engine.fallback_reason
    assert "compiling given up" in caplog.text


def test_inductor_compiles_a_stage_into_the_folder(folder: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    engine, stage = CompileEngine("model", folder), Stage()
    with torch.inference_mode(), torch._inductor.config.patch(SCALAR):
        results = [run(engine, stage, 5) for _ in range(3)]
    assert (engine.name, engine.prepared_stages) == ("compile", 1), engine.fallback_reason
    assert torch.allclose(results[2], stage([torch.ones(5, 3)], [SCALE])[0], atol=1e-6)
    assert any(folder.rglob("*.so"))


def test_a_job_that_needs_eager_bits_is_not_compiled(folder: Path) -> None:
    engines = Engines(CompileEngine("model", folder))
    assert engines.select(eager_bits=True) is EAGER
    assert engines.select(eager_bits=False) is engines.own
    assert Engines().select(eager_bits=False) is EAGER
