"""The engine ``compile``: each stage by ``torch.compile``, tuned for its shapes. Other kernels, other bits.

Compiling takes minutes where nothing is cached, so a shape is compiled when it is seen for the second time,
and only so many of them. What was compiled and measured is kept on disk, for the next start.
"""

import logging
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workers.engines.base import Engine, ForwardPass, Stage, Tensors
from workers.engines.captured_stage import layout

log = logging.getLogger(__name__)

#: Below ``SWIFT_HOME``.
COMPILE_FOLDER = "compiled"
#: Layouts of each stage that are compiled; further ones run eagerly, as each takes minutes.
MAX_LAYOUTS = 8
#: Layouts that are remembered although they were seen only once.
MAX_SEEN = 256

_Key = tuple[Stage, tuple[object, ...], tuple[object, ...]]


class CompileEngine(Engine):
    """See `Engine`; for the stages of one model."""

    has_eager_bits = False
    joins_stages = True

    def __init__(self, model: str, folder: Path, backend: str = "inductor") -> None:
        """``model``: its name, for the log; ``folder``: what is compiled is kept there."""
        # Read by torch when it compiles; it has no setting for it.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder.resolve())
        self._model, self._backend = model, backend
        self._reason: str | None = None
        self._compiled: dict[_Key, Any] = {}
        self._seen: dict[_Key, None] = {}  # in order

    @property
    def name(self) -> str:  # type: ignore[override]
        """See `Engine`; the one that is in effect."""
        return "compile" if self._reason is None else "eager"

    @property
    def fallback_reason(self) -> str | None:
        """See `Engine`."""
        return self._reason

    @property
    def prepared_stages(self) -> int:
        """See `Engine`."""
        return len(self._compiled)

    def begin(self) -> ForwardPass:
        """See `Engine`."""
        return CompiledForward(self)

    def run(self, stage: Stage, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        """Run a stage; for `CompiledForward`."""
        if self._reason is not None:
            return stage(inputs, constants)
        key = stage, layout(inputs), layout(constants)
        if key in self._compiled:
            outputs: tuple[Tensor, ...] = self._compiled[key](list(inputs), list(constants))
            return outputs
        if self._shall_compile(key):
            return self._try_compile(key, inputs, constants)
        return stage(inputs, constants)

    def _shall_compile(self, key: _Key) -> bool:
        if key not in self._seen:
            self._seen[key] = None
            if len(self._seen) > MAX_SEEN:
                self._seen.pop(next(iter(self._seen)))
            return False
        return sum(stage == key[0] for stage, _, _ in self._compiled) < MAX_LAYOUTS

    def _try_compile(self, key: _Key, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        start = time.monotonic()
        mode = "max-autotune-no-cudagraphs" if self._backend == "inductor" else None
        function: Any = torch.compile(
            _own_function(key[0]), backend=self._backend, fullgraph=True, dynamic=False, mode=mode
        )
        try:
            outputs: tuple[Tensor, ...] = function(list(inputs), list(constants))
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except RuntimeError as error:  # of the compiler
            self._reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            log.warning(
                "compiling given up: eager stages", extra={"model": self._model, "reason": self._reason}
            )
            return key[0](inputs, constants)
        self._compiled[key] = function
        fields = {"model": self._model, "stage": type(key[0]).__name__, "s": time.monotonic() - start}
        log.info("stage compiled", extra=fields)
        return outputs


class CompiledForward(ForwardPass):
    """See `ForwardPass`: every output is a tensor of its own."""

    def __init__(self, engine: CompileEngine) -> None:
        self._engine = engine

    def __call__(self, stage: Stage, inputs: Tensors, constants: Tensors = ()) -> tuple[Tensor, ...]:
        """See `ForwardPass`."""
        return self._engine.run(stage, inputs, constants)

    def keep(self, output: Tensor) -> Tensor:
        """See `ForwardPass`."""
        return output

    def end(self) -> None:
        """See `ForwardPass`."""


def _own_function(stage: Stage) -> Any:
    """The stage as a function with code of its own: torch limits what it compiles of the same code."""

    def run(inputs: list[Any], constants: list[Any]) -> tuple[Tensor, ...]:
        return stage(inputs, constants)

    run.__code__ = run.__code__.replace(co_name=f"run_{type(stage).__name__}")
    return run
