"""The unconditional branch of a job, as the follower computes it."""

import time

import torch
from torch import Tensor

from workers.families.guidance import CFGBranch
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.messages import READY, BranchPrediction, BranchStep
from workers.unet.lora import JobLoras
from workers.unet.noise_predictor import NoisePredictorFactory
from workers.unet.output.receipt import worker_receipt
from workers.unet.timesteps.schedule import Timestep


class UncondBranch:
    """Predicts the unconditional rows of each step, with the LoRAs that the leader has in effect."""

    def __init__(self, context: AttemptContext) -> None:
        self._context = context
        self._name = context.timeline.worker
        self._loras = JobLoras(context, context.spec.num_inference_steps)
        try:
            self._predictor = NoisePredictorFactory(context).make(CFGBranch.UNCOND)
            self._loras.patch_exactly([])  # removes patches that an earlier job has left
            self._encode_prompt()
        except BaseException:
            self._loras.close()
            raise

    def ready(self) -> BranchPrediction:
        """The response that says this worker waits for steps, and what it computes them with."""
        model = self._context.model
        return BranchPrediction(
            step=READY,
            worker=self._name,
            model_sha256=model.sha256,
            configs_sha256=model.configs_sha256,
            receipt=worker_receipt(model, self._context.engine),
        )

    def leaving(self, *, is_preempted: bool) -> BranchPrediction:
        """The response that says this worker answers no further step."""
        return BranchPrediction(step=READY, worker=self._name, is_leaving=True, is_preempted=is_preempted)

    def predict(self, step: BranchStep, x: Tensor) -> tuple[BranchPrediction, Tensor | None]:
        """One step's prediction, ``(n, …)``; none while a LoRA of the step is on its way."""
        start = time.time()
        response = BranchPrediction(step=step.step, worker=self._name, start_s=start)
        if not self._loras.have_arrived(step.loras):
            return response.model_copy(update={"is_missing_lora": True}), None
        if self._loras.patch_exactly(step.loras):
            self._encode_prompt()
        device, dtype = self._context.worker.device, self._context.model.latents.dtype
        x = device.from_host(x).to(dtype)
        t = Timestep(step.t, device.from_host(torch.tensor(step.t, dtype=torch.float32)))
        with torch.inference_mode():
            prediction = self._predictor.predict(x, step.step, step.total, t)
            computed = device.to_host(prediction).wait()
        used = self._context.used_controlnets.take_since()
        return response.model_copy(update={"end_s": time.time(), "controlnets": used}), computed

    def close_controlnets(self) -> None:
        """No further step; only for the follower, as other workers that prepared share its request id."""
        self._predictor.close()

    def close(self) -> None:
        """Let go of the LoRAs."""
        self._loras.close()

    def _encode_prompt(self) -> None:
        self._predictor.use(self._context.encode_prompt())
