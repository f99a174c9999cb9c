"""A plain worker on a device that sleeps: ``celery -A infra.bench.timed.plain_app worker``.

It computes nothing: a job sleeps for as long as it takes in diffusers, its models and ControlNets are loaded
on demand into as much memory as a fleet's worker has, and LoRAs are loaded, fused, unfused and unloaded. All
that a real one would cost beside its device is left out, in its favour.
"""

import json
import time

import redis
from celery import Celery

from infra.bench.simulate.fleet.memory import BoundedMemory
from infra.bench.simulate.measurements import TIMED, read_measurements
from infra.bench.timed.plain_fleet import GENERATE, QUEUE, RESULTS
from infra.bench.timed.times import read_times
from shared.settings import read_settings

settings = read_settings()
times = read_times(settings.catalog)
measured = read_measurements(TIMED).stretched(times.stretch, times.step_stretch)
memory: BoundedMemory[str] = BoundedMemory(settings.model_memory_bytes or 0)
results = redis.Redis.from_url(settings.redis_url)
app = Celery("plain", broker=settings.redis_url)
app.conf.update(
    task_default_queue=QUEUE, task_ignore_result=True, worker_prefetch_multiplier=1, task_acks_late=True
)


@app.task(name=GENERATE)
def generate(number: int, model: int, controlnets: list[int], loras: int, steps: int) -> None:
    """Sleep for a job, and say when it was done."""
    needed = {f"model {model}": measured.model_bytes}
    needed |= {f"controlnet {controlnet}": measured.controlnet_bytes for controlnet in controlnets}
    for name, size_bytes in needed.items():
        if name not in memory:
            time.sleep(size_bytes / measured.model_load_bytes_per_s)
        memory.add(name, size_bytes)
        memory.pin(name)
    time.sleep(measured.alone_s(steps, len(controlnets), loras))
    for name in needed:
        memory.unpin(name)
    results.rpush(RESULTS, json.dumps([number, time.time()]))
