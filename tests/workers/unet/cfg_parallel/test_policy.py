from typing import Any

import pytest

from shared.jobs.options import LoraLoading
from shared.jobs.spec import ControlNetSpec
from tests.workers.unet.specs import spec
from workers.unet.cfg_parallel.policy import should_split

#: Its transformer attends across the rows of a batch.
UNION = ControlNetSpec(
    name="union", image="", conditioning_scale=1, guidance_start=0, guidance_end=1, control_mode=0
)


@pytest.mark.parametrize(
    ("changes", "waiting", "idle", "split"),
    [
        ({}, 0, 1, True),
        ({}, 0, 0, False),
        ({}, 1, 1, False),
        ({"latent_parallelism": "on"}, 1, 1, True),
        ({"latent_parallelism": "off"}, 0, 1, False),
        ({"guidance_scale": 1.0}, 0, 1, False),
        ({"lora_loading": LoraLoading(mode="exact")}, 0, 1, False),
        ({"lora_loading": LoraLoading(mode="replay", steps={})}, 0, 1, False),
        ({"guess_mode": True}, 0, 1, False),
        ({"controlnets": [UNION], "latent_parallelism": "on"}, 0, 1, False),
    ],
    ids=str,
)
def test_a_guided_job_is_split_while_workers_are_idle_and_no_job_waits(
    changes: dict[str, Any], waiting: int, idle: int, split: bool
) -> None:
    assert should_split(spec(**changes), waiting=waiting, idle=idle) == split
