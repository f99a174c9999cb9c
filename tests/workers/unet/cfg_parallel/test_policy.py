import copy
import dataclasses
from typing import Any

import pytest
from redis import Redis

from shared.jobs.options import LoraLoading
from shared.jobs.spec import ControlNetSpec
from tests.counting_redis import CountingRedis
from tests.workers.unet.cfg_parallel.conftest import idle
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.runtime.model_cache import ModelCache
from workers.unet.cfg_parallel.policy import MOST_READ, idle_workers, may_split, should_split

#: Its transformer attends across the rows of a batch.
UNION = ControlNetSpec(
    name="union", image="", conditioning_scale=1, guidance_start=0, guidance_end=1, control_mode=0
)


@pytest.fixture(params=["one_batch", "two_forwards"])
def model(request: pytest.FixtureRequest, models: ModelCache[BaseModel]) -> BaseModel:
    """A model of a family that computes guidance in this way."""
    with models.use("sd1") as one_batch:
        model = copy.copy(one_batch)
    model.facts = dataclasses.replace(model.facts, guidance_batches=request.param)
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_parallelism": "off"},
        {"guidance_scale": 1.0},
        {"guess_mode": True},
    ],
    ids=str,
)
def test_a_job_without_two_branches_of_their_own_may_not_be_split(
    model: BaseModel, changes: dict[str, Any]
) -> None:
    assert may_split(spec(), model)
    assert not may_split(spec(**changes), model)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_loading": LoraLoading(mode="exact")},
        {"lora_loading": LoraLoading(mode="replay", steps={})},
        {"controlnets": [UNION], "latent_parallelism": "on"},
    ],
    ids=str,
)
def test_a_job_that_a_split_would_change_is_split_where_diffusers_runs_two_forwards(
    model: BaseModel, changes: dict[str, Any]
) -> None:
    is_alike = model.facts.guidance_batches == "two_forwards"
    assert may_split(spec(**changes), model) == is_alike


def test_a_union_that_computes_each_row_by_itself_may_be_split(model: BaseModel) -> None:
    model.facts = dataclasses.replace(model.facts, unions_mix_rows=False)
    assert may_split(spec(controlnets=[UNION]), model)


def test_a_batch_whose_rows_depend_on_each_other_is_not_split(model: BaseModel) -> None:
    model.facts = dataclasses.replace(model.facts, rows_are_independent=False)
    assert may_split(spec(), model) == (model.facts.guidance_batches == "two_forwards")


@pytest.mark.parametrize(
    ("changes", "waiting", "idle", "split"),
    [
        ({}, 0, 1, True),
        ({}, 0, 0, False),
        ({}, 1, 1, False),
        ({"latent_parallelism": "on"}, 1, 1, True),
        ({"latent_parallelism": "on"}, 1, 0, False),
    ],
    ids=str,
)
def test_a_job_is_split_while_workers_are_idle_and_no_job_waits(
    changes: dict[str, Any], waiting: int, idle: int, split: bool
) -> None:
    assert should_split(spec(**changes), waiting=waiting, idle=idle) == split


def test_workers_that_an_offer_excludes_do_not_count_as_idle(control: Redis) -> None:
    with idle(control, "unet2@test", "unet3@test"):
        assert idle_workers(control, "emoji-sd", {"unet1@test"}) == 2
        assert idle_workers(control, "emoji-sd", {"unet1@test", "unet2@test"}) == 1
        assert idle_workers(control, "another model", {"unet1@test"}) == 0


def test_a_leader_looks_at_some_of_many_idle_workers(control: Redis) -> None:
    counting = CountingRedis(control)
    with idle(control, *(f"unet{i}@test" for i in range(2 * MOST_READ))):
        found = idle_workers(counting, "emoji-sd", {"unet1@test", "unet2@test"})
    assert MOST_READ <= found <= MOST_READ + 2
    [read] = [call for call in counting.calls if call[0] == "MGET"]
    assert len(read) - 1 == found
