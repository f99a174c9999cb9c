"""Latent parallelism (the paper, section 4.3): the two halves of classifier-free guidance on two workers.

The conditional half runs here, the unconditional one on an assistant, whenever there is one. When it
fails a step, the half is computed here, from the same step on. A split step differs from a whole one
in the last bits of the floats, because the batch size changes their sums; which steps were split is on
the receipt, and a replay splits the same ones, on one worker.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from shared import metrics
from shared.jobs.receipt import WorkerReceipt
from workers.families.conditioning import Conditioning
from workers.unet.cfg_parallel.leader import Follower
from workers.unet.noise_predictor import WHOLE, NoisePredictor, NoisePredictorFactory

COND, UNCOND = "cond", "uncond"


class CFGBranches:
    """All rows of a job's steps, predicted whole or by halves."""

    def __init__(
        self, maker: NoisePredictorFactory, assistant: Follower, split_steps: Collection[int]
    ) -> None:
        self._maker = maker
        self._assistant = assistant
        self._replayed = frozenset(split_steps)
        self._rows: dict[str, NoisePredictor] = {}
        self._conditioning: Conditioning | None = None
        self.split: list[int] = []  # steps whose halves were predicted apart

    @property
    def controlnet_hashes(self) -> dict[int, str]:
        """By the net's position in the job: sha256 of the weights that have served this worker's rows."""
        return {
            controlnet: sha256
            for rows in self._rows.values()
            for controlnet, sha256 in rows.controlnet_hashes.items()
        }

    @property
    def controlnet_batches(self) -> dict[int, int]:
        """By the net's position in the job: the most jobs that were computed in one pass with its steps."""
        return self._rows[WHOLE].controlnet_batches

    @property
    def assistant(self) -> WorkerReceipt | None:
        """The second worker, if it has predicted a half."""
        return self._assistant.receipt

    def attach(self) -> None:
        """Have the nets' workers make ready, before anything else is done."""
        self._rows[WHOLE] = self._maker.make(WHOLE)

    def use(self, conditioning: Conditioning) -> None:
        """What all rows attend to from the next step on, the unconditional half first."""
        self._conditioning = conditioning
        for name, rows in self._rows.items():
            rows.use(branch_rows(conditioning, name))

    def predict(self, x: Tensor, step: int, total: int, t: Tensor, loras: Sequence[str]) -> Tensor:
        """The prediction for the model input ``x``, ``(b, c, h/f, w/f)``; ``loras`` are in effect."""
        has_assistant = self._assistant.is_here()
        if not has_assistant and step not in self._replayed:
            return self._rows[WHOLE].predict(x, step, total, t)
        self.split.append(step)
        uncond, cond = (half.contiguous() for half in x.chunk(2))
        if has_assistant:
            self._assistant.ask(step, total, t.item(), uncond, loras)
        second = self._half(COND).predict(cond, step, total, t)
        first = self._assistant.take(second) if has_assistant else None
        if first is None:
            metrics.HALVES.labels("here").inc()
            first = self._half(UNCOND).predict(uncond, step, total, t)
        return torch.cat([first, second])

    def close(self) -> None:
        """No further step."""
        for rows in self._rows.values():
            rows.close()

    def _half(self, name: str) -> NoisePredictor:
        if name not in self._rows:
            assert self._conditioning is not None, "the prompt is encoded before the first step"
            self._rows[name] = self._maker.make(name)
            self._rows[name].use(branch_rows(self._conditioning, name))
        return self._rows[name]


def branch_rows(conditioning: Conditioning, name: str) -> Conditioning:
    """What the rows ``name`` attend to; every name but two stands for all rows."""
    middle = len(conditioning.embeddings) // 2
    halves = {UNCOND: slice(0, middle), COND: slice(middle, None)}
    return conditioning.rows(halves[name]) if name in halves else conditioning
