"""A job's ControlNets as the UNet worker uses them: attach, request a step, close."""

import logging
from collections.abc import Mapping

from redis.exceptions import RedisError
from torch import Tensor

from shared.families.controlnets import ControlPlan
from shared.messaging.messages import AttachControlNet
from shared.registry.controlnet_servers import Served
from workers.devices.base import HostCopy
from workers.families.guidance import CFGBranch
from workers.transport.protocol import ControlNetCall, StepRequest, UsedControlNet
from workers.unet.attempt_context import AttemptContext
from workers.unet.controlnet.first_residual_timer import FirstResidualTimer
from workers.unet.controlnet.session import ControlNetSession
from workers.unet.controlnet.step_residuals import StepResiduals
from workers.unet.mixed_rows import mixes_rows

log = logging.getLogger(__name__)


class ControlNetClient:
    """All ControlNets of one CFG branch of an attempt."""

    def __init__(
        self, context: AttemptContext, branch: CFGBranch, first_residual: FirstResidualTimer
    ) -> None:
        spec = context.spec
        self._context = context
        self._specs = spec.controlnets
        self._request_id = _request_id(context, branch)
        # A replay could not reproduce which steps shared a batch; branches are never batched, not even with
        # each other.
        is_branch = branch is not CFGBranch.BOTH
        self._is_alone = spec.is_exact or is_branch or mixes_rows(spec, context.model.facts)
        self.session = ControlNetSession(context, first_residual)

    @property
    def used(self) -> dict[int, UsedControlNet]:
        """By the ControlNet's position in the job: what has computed it in this attempt, for any branch."""
        return self._context.used_controlnets.used

    def publish_images(self, images: list[Tensor]) -> None:
        """Store what `BaseModel.control_inputs` has made where ControlNet workers find it."""
        self.session.publish_images(images)

    def expect_steps(self) -> None:
        """Have it known by the first step who could serve these ControlNets."""
        wanted = [Served(spec.name, self._context.platform_of(spec.name)) for spec in self._specs]
        if wanted:
            self._context.worker.other_workers.expect(wanted)

    def attach(self, batch: int) -> None:
        """Have those that may serve prepare for steps of ``batch`` rows."""
        context = self._context
        messages = [
            AttachControlNet(
                job_id=self._request_id,
                attempt=context.attempt,
                tenant=context.tenant,
                controlnet=spec.name,
                image=image,
                batch=batch,
                platform=context.platform_of(spec.name),
            )
            for spec, image in zip(self._specs, self.session.image_keys, strict=True)
        ]
        if messages:
            context.worker.send_attach(messages, context.timeline.worker)

    def publish_inputs(self, inputs: Mapping[str, Tensor], copies: Mapping[str, Tensor]) -> None:
        """Store what the ControlNets take from the next step on in addition to their images, by name.

        ``copies`` are the same in the host's memory.
        """
        self.session.publish_inputs(inputs, copies)

    def calls(self, step: int, total: int) -> list[ControlNetCall]:
        """What step ``step`` of ``total`` asks of each ControlNet that guides it."""
        return [
            ControlNetCall(
                position=position,
                controlnet=spec.name,
                scale=spec.conditioning_scale,
                image=image,
                control_mode=spec.control_mode,
                platform=self._context.platform_of(spec.name),
            )
            for position, (spec, image) in enumerate(zip(self._specs, self.session.image_keys, strict=True))
            # The condition is diffusers' own, floats and all (pipeline_controlnet, "controlnet_keep").
            if not (step / total < spec.guidance_start or (step + 1) / total > spec.guidance_end)
        ]

    def plan(self, calls: list[ControlNetCall]) -> ControlPlan | None:
        """Where the base model adds the residuals of ``calls``; None: no ControlNet guides the step."""
        if not calls:
            return None
        names = [call.controlnet for call in calls]
        return self._context.worker.controlnet_configs.plan(names, self._context.model)

    def request_step(
        self, calls: list[ControlNetCall], step: int, t: float, x: Tensor, copy: HostCopy
    ) -> StepResiduals:
        """Send step ``step``, at timestep ``t``, to the ControlNets of ``calls``.

        ``x`` is their input on the device, ``(b, …)``, and ``copy`` the same for the host's memory,
        which is waited for only if others are asked.
        """
        context, session = self._context, self.session
        request = StepRequest(
            job_id=self._request_id,
            attempt=context.attempt,
            ordinal=context.ordinal,
            step=step,
            retry=0,
            t=t,
            guess_mode=context.spec.guess_mode,
            inputs=session.input_keys,
            parts=calls,
            held=[call.position for call in calls if session.holds(call)],
            rows=x.shape[0],
            batch_key="" if self._is_alone else _batch_key({"x": x, **session.inputs}),
            residual_precision=context.spec.residual_precision,
            eager_bits=context.spec.is_exact,
            platform=context.worker.steps.platform_digest,
            reachable_by=context.worker.transport.announce(),
        )
        return StepResiduals(session, request, x, copy)

    def close(self) -> None:
        """Void what is still queued for this branch; errors are logged, as the job's own end counts more."""
        self.session.close()
        if self._specs:
            try:
                self._context.worker.steps.cancel(self._request_id, self._context.ordinal)
            except RedisError:
                log.warning("step requests not withdrawn, they expire: the residual Redis does not answer")
            self._context.worker.transport.forget(self._request_id)


def _request_id(context: AttemptContext, branch: CFGBranch) -> str:
    """Each branch requests its steps under an id of its own, ``JOB.BRANCH``; see `StepRequest.root_job_id`.

    The leader, or another follower, may compute a lost follower's branch while that one still does.
    """
    if context.role == "follower":
        return f"{context.job_id}.follower-{context.channel}"
    return context.job_id if branch is CFGBranch.BOTH else f"{context.job_id}.{branch.value}"


def _batch_key(inputs: Mapping[str, Tensor]) -> str:
    """Equal for steps that can share a forward pass: names, sizes and types of everything it takes."""
    parts = [f"{name} {tuple(tensor.shape[1:])} {tensor.dtype}" for name, tensor in sorted(inputs.items())]
    return "; ".join(parts)
