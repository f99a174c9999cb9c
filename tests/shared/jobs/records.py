"""The plainest job of the job store's tests, and what may happen to a record."""

from typing import Any

from redis import Redis

from shared import keys
from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec


def spec(**changes: Any) -> JobSpec:
    return JobSpec(
        **{
            "model": "m",
            "prompt": "a cat",
            "negative_prompt": "",
            "width": None,
            "height": None,
            "num_inference_steps": 4,
            "guidance_scale": 3.0,
            "scheduler": "ddim",
            "seed": 7,
            "num_images": 1,
            "controlnets": [],
            "loras": [],
            "lora_loading": LoraLoading(),
            **changes,
        }
    )


UNREADABLE = [
    "a string in its place",
    "a list in its place",
    "another program's hash",
    "bytes that are no text",
    "spec is nothing of JSON",
    "spec is " + "[" * 5000,
    'spec is {"model": 3}',
    "spec is null",
    "created_at is yesterday",
    "created_at is 1e300",
    "status is paused",
    "attempts is many",
    "images is {}",
    "timeline is [1]",
    'error is "why"',
]
DAMAGES = [*UNREADABLE, "a stream of events that is a string"]


def damage(control: Redis, job_id: str, how: str) -> None:
    key = keys.job(job_id)
    if how == "a string in its place":
        control.set(key, "x")
    elif how == "a list in its place":
        control.delete(key)
        control.rpush(key, "x")
    elif how == "another program's hash":
        control.delete(key)
        control.hset(key, mapping={"colour": "red"})
    elif how == "a stream of events that is a string":
        control.set(keys.events(job_id), "x")
    elif how == "bytes that are no text":
        control.execute_command("HSET", key, "spec", b"\xff\xfe{")
    else:
        field, value = how.split(" is ", 1)
        control.hset(key, field, value)
