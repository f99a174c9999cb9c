"""What a fleet without jobs must not have any more: in both Redis, S3, shared memory and `SWIFT_HOME`."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, get_args

from infra.chaos.target import Target, read_job
from shared import keys
from shared.jobs.record import Status
from workers.lora.cache.directory import PARTIAL_SUFFIX
from workers.transport.backends.host_memory import FolderOwner, find_host_memory
from workers.transport.keys import checkpoint_key
from workers.unet.maintenance.broker_cleanup import BINDING, EVENTS
from workers.unet.maintenance.unacked import UNACKED

#: Until all leftovers are removed.
SWEPT_S = 180.0
POLL_S = 0.5
STATUSES: tuple[Status, ...] = get_args(Status)
#: Keys of the control Redis that never expire: sets of ids, each of which is removed by itself, and those of
#: Celery's broker.
LASTING = frozenset(
    {
        *(keys.JOBS, keys.UNRUNNABLE, keys.UNSENT, keys.LEAVING, keys.SERVER, keys.IMAGES),
        *(keys.CONTROL_IMAGES, keys.CONTROL_IMAGES_DELETED, keys.SWEEP_CURSORS, keys.MESSAGES_SEEN),
        *(keys.SCHEDULING, keys.DEADLINES, keys.DELAYED, keys.UNCLAIMED),
        *(keys.BINDINGS_SEEN, keys.WORKERS, keys.FREE_WORKERS, keys.PUBLISHERS, keys.RESERVED_QUEUES),
        *(keys.by_status(status) for status in STATUSES),
        *(f"{keys.jobs_of(keys.LOCAL)}:{status}" for status in STATUSES),
        *(keys.jobs_of(keys.LOCAL), keys.JOB_TENANTS, keys.TENANTS, keys.AUDIT),
        *(keys.WEBHOOK_EVENTS, keys.WEBHOOK_OWNERS, keys.webhooks(keys.LOCAL)),
        *(keys.MODELS, keys.LAST_EVENT, keys.USAGE_TOTALS, keys.USAGE_SERIES),
        "unacked_mutex",
    }
)
#: What the names of more such sets begin with: one for each model, and one for each API key.
LASTING_PREFIXES = (*(keys.by_model(status, "") for status in STATUSES), keys.api_key(""))


def find_leftovers(target: Target, job_ids: Sequence[str], excused: Collection[str]) -> list[str]:
    """What is no longer needed and is not removed within `SWEPT_S`."""
    left: dict[str, str] = {}

    def is_clean() -> bool:
        left.clear()
        left.update({name: what for name, find in LEFTOVERS.items() if (what := find(target))})
        return not left

    if not is_clean():
        print(f"left over, and to be removed within {SWEPT_S:.0f} s: {left}", flush=True)
        wait_until(is_clean, SWEPT_S)
    unknown = set(_all_ids(target)) - set(job_ids) - set(excused)
    if unknown:
        left["jobs"] = f"{len(unknown)} that no client submitted: {sorted(unknown)[:3]}"
    return [f"left over: {name}: {what}" for name, what in left.items()]


def wait_until(is_true: Callable[[], bool], within_s: float) -> bool:
    """Whether that becomes true in time."""
    deadline = time.monotonic() + within_s
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _all_ids(target: Target) -> list[str]:
    ids: Any = target.control.zrange(keys.JOBS, 0, -1)
    return [str(job_id) for job_id in ids]


def _leases(target: Target) -> str:
    return ", ".join(target.control.scan_iter(keys.lease("*")))


def _unsent(target: Target) -> str:
    unsent: Any = target.control.zrange(keys.UNSENT, 0, -1)
    return ", ".join(unsent)


def _messages(target: Target) -> str:
    """Waiting messages, and unacknowledged ones of dead workers."""
    redis = target.control
    queues = [key for key in redis.scan_iter("unet.*") if redis.type(key) == "list"]
    waiting = [f"{redis.llen(queue)} in {queue}" for queue in queues]
    count = redis.hlen(UNACKED)
    return ", ".join([*waiting, *([f"{count} unacked"] if count else [])])


def _bindings(target: Target) -> str:
    """Event bindings unknown to the sweep: known ones are removed an hour after their consumers."""
    members: Any = target.control.smembers(f"{BINDING}{EVENTS}")
    bound = {f"{EVENTS} {member}" for member in members}
    noted: Any = target.control.zrange(keys.BINDINGS_SEEN, 0, -1)
    left = bound - set(noted)
    return f"{len(left)} event bindings" if left else ""


def _orphaned_images(target: Target) -> str:
    """Image objects of lost attempts."""
    wanted: set[str] = set()
    owners: Any = target.control.hgetall(keys.JOB_TENANTS)
    for job_id in _all_ids(target):
        headers = target.headers(owners.get(job_id))
        job = read_job(target.stack.api_url, job_id, headers)
        wanted |= {job_id} if job is not None and job["images"] else set()
    pages = target.s3.get_paginator("list_objects_v2").paginate(Bucket=target.stack.env["SWIFT_IMAGE_BUCKET"])
    found = [item["Key"] for page in pages for item in page.get("Contents", [])]
    orphans = [
        key for key in found if key.startswith(keys.IMAGE_PREFIX) and not any(j in key for j in wanted)
    ]
    return f"{len(orphans)} image objects without a job: {orphans[:3]}" if orphans else ""


def _steps(target: Target) -> str:
    """Steps that wait for a ControlNet."""
    queues = target.residual.scan_iter(keys.controlnet_steps("*"))
    waiting = [f"{count} in {queue}" for queue in queues if (count := target.residual.llen(queue))]
    return ", ".join(waiting)


def _checkpoints(target: Target) -> str:
    """Checkpoints of jobs that have ended."""
    residual = target.residual
    found = [key for key in residual.scan_iter(checkpoint_key("*")) if residual.hexists(key, "frame")]
    return f"{len(found)} checkpoints: {found[:3]}" if found else ""


def _keys_of(tenant: str) -> set[str]:
    """Keys of a tenant that do not expire."""
    jobs = keys.jobs_of(tenant)
    own = {keys.tenant(tenant), keys.tenant_keys(tenant), keys.tenant_key_uses(tenant), keys.webhooks(tenant)}
    return own | {jobs, *(f"{jobs}:{status}" for status in STATUSES)}


def _lasting_keys(target: Target) -> str:
    """Keys that never expire and are not known to."""
    redis, lasting = target.control, LASTING.union(*map(_keys_of, target.tenants))
    unlimited = [
        key
        for key in redis.scan_iter("swift:*", count=1000)
        if key not in lasting and not key.startswith(LASTING_PREFIXES) and redis.ttl(key) == -1
    ]
    residual = target.residual
    unlimited += [
        f"{key} (residual)" for key in residual.scan_iter("*", count=1000) if residual.ttl(key) == -1
    ]
    return f"{len(unlimited)} keys that never expire: {sorted(unlimited)[:5]}" if unlimited else ""


def _shared_memory(_: Target) -> str:
    """Folders whose worker has ended; another stack's workers remove ours as well as ours do theirs."""
    memory = find_host_memory()
    if memory is None:
        return ""
    dead = []
    for folder in memory.folder.iterdir():
        try:
            owner = FolderOwner(folder)
        except OSError:
            continue  # the token, or just removed
        if not owner.is_alive:
            dead.append(folder.name)
        owner.close()
    return f"{len(dead)} folders of dead workers in {memory.folder}: {dead[:3]}" if dead else ""


def _files(target: Target) -> str:
    """Files that are written beside their place, and were not finished."""
    unfinished = [
        str(path.relative_to(target.stack.home))
        for folder in target.stack.home.iterdir()
        if folder.is_dir() and folder.name not in ("redis", "s3")
        for path in folder.rglob("*")
        if path.suffix in (PARTIAL_SUFFIX, ".new", ".tmp")
    ]
    return f"{len(unfinished)} unfinished files: {unfinished[:5]}" if unfinished else ""


LEFTOVERS: dict[str, Callable[[Target], str]] = {
    "leases": _leases,
    "unsent jobs": _unsent,
    "messages": _messages,
    "bindings": _bindings,
    "images": _orphaned_images,
    "steps": _steps,
    "checkpoints": _checkpoints,
    "keys": _lasting_keys,
    "shared memory": _shared_memory,
    "files": _files,
}
