"""CFG parallelism: the two branches of classifier-free guidance on two workers.

The SwiftDiffusion paper calls it latent parallelism (section 4.3). The conditional branch runs here, the
unconditional one on the follower while there is one; when it fails a step, that branch is computed here, from
the same step on. Where guidance is computed as one batch, a split step differs from a whole one in the last
bits of the floats, because the batch size changes their sums; where it is two forwards, it does not. The
receipt says which steps were split, and a replay splits the same ones on one worker.
"""

from collections.abc import Collection, Sequence

from torch import Tensor

from shared import metrics
from shared.jobs.receipt import WorkerReceipt
from workers.families.base import Conditioning
from workers.families.guidance import CFGBranch, Guidance
from workers.unet.cfg_parallel.leader import Leader
from workers.unet.noise_predictor import NoisePredictor, NoisePredictorFactory
from workers.unet.timesteps.schedule import Timestep


class CFGBranches:
    """Predicts the noise of a job's steps, each as a whole batch or branch by branch."""

    def __init__(
        self,
        predictors: NoisePredictorFactory,
        leader: Leader,
        guidance: Guidance,
        replayed_steps: Collection[int],
    ) -> None:
        """``replayed_steps`` are split even without a follower."""
        self._guidance = guidance
        self._factory = predictors
        self._leader = leader
        self._replayed = frozenset(replayed_steps)
        self._predictors: dict[CFGBranch, NoisePredictor] = {}
        self._conditioning: Conditioning | None = None
        self.split_steps: list[int] = []  # whose branches were predicted apart

    @property
    def follower(self) -> WorkerReceipt | None:
        """The second worker, if it has predicted a branch."""
        return self._leader.receipt

    def go_on(self, split_steps: Sequence[int], follower: WorkerReceipt | None) -> None:
        """An earlier attempt has computed the steps before the first one, some of them with a follower."""
        self.split_steps = list(split_steps)
        self._leader.receipt = follower

    def attach(self) -> None:
        """Have ControlNet workers prepare, before anything else is done."""
        self._predictors[CFGBranch.BOTH] = self._factory.make(CFGBranch.BOTH)

    def use(self, conditioning: Conditioning) -> None:
        """What all rows attend to from the next step on; `Guidance` says in which order the branches are."""
        self._conditioning = conditioning
        for predictor in self._predictors.values():
            predictor.use(conditioning)

    def predict(self, x: Tensor, step: int, total: int, t: Timestep, loras: Sequence[str]) -> Tensor:
        """The prediction for the model input ``x`` of ``b`` rows; ``loras`` are in effect."""
        if self._guidance.is_guided and not self._guidance.is_guided_at(t.value):
            return self._predictor(CFGBranch.COND).predict(x, step, total, t)
        has_follower = self._leader.has_follower()
        if not has_follower and step not in self._replayed:
            return self._predictors[CFGBranch.BOTH].predict(x, step, total, t)
        uncond_x, cond_x = (self._rows(x, branch) for branch in (CFGBranch.UNCOND, CFGBranch.COND))
        messages = [self._leader.request(step, total, t.value, uncond_x, loras)] if has_follower else []
        cond = self._predictor(CFGBranch.COND).predict(cond_x, step, total, t, messages=messages)
        uncond = self._leader.take(cond) if has_follower else None
        if uncond is None:
            metrics.CFG_BRANCHES.labels("leader").inc()
            uncond = self._predictor(CFGBranch.UNCOND).predict(uncond_x, step, total, t)
        self.split_steps.append(step)  # not before: the attempt may end while one waits in a step
        return self._guidance.join(uncond=uncond, cond=cond)

    def close(self) -> None:
        """No further step."""
        for predictor in self._predictors.values():
            predictor.close()

    def _rows(self, x: Tensor, branch: CFGBranch) -> Tensor:
        return x[self._guidance.rows(branch, len(x))].contiguous()

    def _predictor(self, branch: CFGBranch) -> NoisePredictor:
        if branch not in self._predictors:
            assert self._conditioning is not None, "the prompt is encoded before the first step"
            self._predictors[branch] = self._factory.make(branch)
            self._predictors[branch].use(self._conditioning)
        return self._predictors[branch]
