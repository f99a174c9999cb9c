"""Submissions through the API, with keys, while 10,000 jobs of 200 tenants are held, and while none is.

One gunicorn process on a control Redis of its own, without workers: nothing is released meanwhile. The two
take turns, each on a Redis that was emptied before.
"""

import time
from statistics import median
from typing import TYPE_CHECKING, Any

from infra.bench.harness.api import Api, running_api_servers
from infra.bench.harness.processes import cpu_s
from infra.bench.harness.report import FOLDER, CheckFailed
from infra.bench.harness.samples import percentile
from infra.bench.parts.scheduling.release_cost import HELD, TENANTS
from infra.bench.parts.web.load_client import CONNECTIONS, Load, Order, put_load_on
from infra.cli.client import Client
from shared import keys
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.redis_clients import control_redis
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from shared.tenants.api_key import ApiKey

if TYPE_CHECKING:
    from redis import Redis

OPTIONS = ["--worker-class", "api.server.worker.ApiWorker"]
#: Who submits; the held jobs are of others.
TENANT = "submitter"
#: Each is measured so often, and for so long; before the first time the API is warmed up.
ROUNDS, LOAD_S, WARM_UP_S = 5, 8.0, 2.0
QUICK_ROUNDS, QUICK_LOAD_S, QUICK_HELD = 1, 2.0, 1000
#: The end of the figures' names, and how many jobs are held.
NONE, MANY = "none_held", "10000_held"


def held_submissions(is_quick: bool, figures: dict[str, float], samples: dict[str, list[float]]) -> None:
    """Measure submissions a second, also of the API's CPU time, and Redis' CPU time for each of them.

    The figures are medians of the rounds, latencies those of all. The quick form holds fewer jobs.
    """
    rounds, load_s = (QUICK_ROUNDS, QUICK_LOAD_S) if is_quick else (ROUNDS, LOAD_S)
    held = {NONE: 0, MANY: QUICK_HELD if is_quick else HELD}
    by_round: dict[str, list[float]] = {}
    admin = str(ApiKey.random())
    with running_api_servers(FOLDER / "held", key=admin) as start, start("held", OPTIONS) as api:
        settings = Settings(redis_url=api.redis_url)
        redis = control_redis(settings)
        spec = _warm_up(api, admin, JobStore(redis, settings))
        for n in range(rounds):
            for name in (NONE, MANY) if n % 2 == 0 else (MANY, NONE):
                redis.flushdb()
                key = _create_key(api, admin)
                hold(redis, settings, spec, held[name])
                print(f"  submissions for {load_s:.0f} s, {held[name]} jobs held", flush=True)
                load, found = _measure(api, key, load_s, redis)
                if redis.zcard(keys.by_status("queued")) != held[name] + len(load.ids):
                    raise CheckFailed("not all jobs are queued that were accepted, or held before")
                for figure, value in found.items():
                    by_round.setdefault(f"{figure}_{name}", []).append(value)
                samples.setdefault(f"submit_ms_{name}", []).extend(load.latencies_ms)
    samples |= by_round
    figures |= {name: median(values) for name, values in by_round.items()}
    for name in held:
        figures[f"submit_ms_p50_{name}"] = percentile(samples[f"submit_ms_{name}"], 50)
        figures[f"submit_ms_p99_{name}"] = percentile(samples[f"submit_ms_{name}"], 99)


def hold(redis: "Redis", settings: Settings, spec: JobSpec, count: int) -> None:
    """Accept ``count`` jobs of 200 tenants, of which one is released: the fleet has no worker.

    None of them waits for the disk, as a client's job does: that takes minutes.
    """
    jobs = JobStore(redis, settings.model_copy(update={"durable_submit": "off"}))
    queue = FairQueue(redis, settings)
    for n in range(count):
        job_id, _ = jobs.create(spec.model_copy(update={"seed": n}), tenant=f"t{n % TENANTS}")
        queue.place(job_id, spec.model)


def _warm_up(api: Api, admin: str, jobs: JobStore) -> JobSpec:
    """Submit for a moment; returns what the API has made of a submission."""
    return jobs.get(_load(api, _create_key(api, admin), WARM_UP_S).ids[0]).spec


def _create_key(api: Api, admin: str) -> str:
    """An API key of the tenant that submits, which is created."""
    client = Client("http://{}:{}".format(*api.address), admin)
    client.call("POST", "/v1/tenants", {"id": TENANT})
    return str(client.call("POST", f"/v1/tenants/{TENANT}/keys", {"scopes": ["jobs"]})["key"])


def _measure(api: Api, key: str, seconds: float, redis: "Redis") -> tuple[Load, dict[str, float]]:
    """The load, and what it says of this round."""
    api_s, redis_s = cpu_s(api.pid), _redis_cpu_s(redis)
    load = _load(api, key, seconds)
    api_s, redis_s = cpu_s(api.pid) - api_s, _redis_cpu_s(redis) - redis_s
    count = len(load.latencies_ms)
    return load, {
        "submissions_per_s": count / load.elapsed_s,
        "submissions_per_core_s": count / api_s,
        "redis_ms_per_submission": 1e3 * redis_s / count,
    }


def _load(api: Api, key: str, seconds: float) -> Load:
    host, port = api.address
    order = Order(kind="submit", host=host, port=port, seconds=seconds, key=key, connections=CONNECTIONS)
    load = put_load_on(order)
    if load.refused or not load.ids:
        raise CheckFailed(f"answers not meant: {set(load.refused)}")
    time.sleep(0.2)  # what follows an answer counts, too
    return load


def _redis_cpu_s(redis: "Redis") -> float:
    used: Any = redis.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])
