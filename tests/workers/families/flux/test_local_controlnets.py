"""ControlNets of a transformer that its own worker computes: each residual when the base model needs it."""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from shared.keys import LOCAL
from tests.workers.families.transformer.world import TransformerWorld
from workers.unet.controlnet.claims.local_choice import LocalChoice
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker


class AlwaysHere(LocalChoice):
    """As if residuals of other workers had travelled for too long."""

    def is_local(self, controlnet: str) -> bool:
        return True


def computing_here(world: TransformerWorld, *controlnets: str) -> UNetWorker:
    """A worker that has loaded these ControlNets, and asks no other."""
    for name in controlnets:
        with world.worker.controlnets.use(name):
            pass
    return dataclasses.replace(
        world.worker,
        served_controlnets=list(controlnets),
        local_choice=AlwaysHere(),
        send_attach=lambda messages, name: None,
    )


@contextmanager
def recorded(world: TransformerWorld, *controlnets: str) -> Iterator[list[str]]:
    """Within the block, in order, what ends: blocks of the base model, output layers of the ControlNets."""
    ended: list[str] = []
    with ExitStack() as stack:
        model: Any = stack.enter_context(world.worker.models.use("base"))
        layers = {"block": model.denoiser.transformer_blocks}
        for name in controlnets:
            layers[name] = stack.enter_context(world.worker.controlnets.use(name)).model.controlnet_blocks
        for name, modules in layers.items():
            for module in modules:
                hook = module.register_forward_hook(lambda *_, name=name: ended.append(name))
                stack.callback(hook.remove)
        yield ended


def test_each_residual_is_computed_when_the_base_model_needs_it(world: TransformerWorld) -> None:
    wanted = world.spec(controlnets=[world.control("both")])
    with recorded(world, "both") as ended:
        job, here = world.run(wanted, computing_here(world, "both"))
    # Then the base model takes the first one before there is another
    assert ended[:3] == ["block", "both", "block"]
    assert ended.count("both") > wanted.num_inference_steps
    # And its bits are those of a ControlNet worker's
    assert here.has_bits_of(world.ours(wanted))
    spans = [span for span in job.timeline if span.name == "controlnet both"]
    assert [span.worker for span in spans] == ["unet1@test"] * wanted.num_inference_steps


def test_each_residual_of_several_controlnets_is_computed_when_it_is_needed(world: TransformerWorld) -> None:
    names = ["both", "other"]
    wanted = world.spec(controlnets=[world.control(name) for name in names])
    with recorded(world, *names) as ended:
        job, here = world.run(wanted, computing_here(world, *names))
    assert ended[:4] == ["block", *names, "block"]
    assert here.has_bits_of(world.ours(wanted))
    for name in names:
        spans = [span for span in job.timeline if span.name == f"controlnet {name}"]
        assert [span.worker for span in spans] == ["unet1@test"] * wanted.num_inference_steps


def test_controlnets_of_a_step_that_fails_can_be_unloaded(world: TransformerWorld) -> None:
    names = ["both", "other"]
    worker = computing_here(world, *names)
    controls = [world.control(name) for name in names]
    job_id, _ = worker.jobs.create(world.spec(controlnets=controls), tenant=LOCAL)

    def fail(*_: object) -> None:
        raise ValueError("a bug")

    with worker.models.use("base") as model:
        denoiser: Any = model.parts["transformer"]
        hook = denoiser.transformer_blocks[-1].register_forward_hook(fail)
        with pytest.raises(ValueError, match="a bug"):
            execute_job(worker, job_id, "unet1@test")
        hook.remove()
    worker.controlnets.memory.models.evict_idle()
    assert not {*names} & {*worker.controlnets.names()}
