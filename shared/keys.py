"""Names of every key in the control Redis and of our objects in S3, in one place so that none collide."""

JOBS = "swift:jobs"  # sorted set: job ids by creation time
UNSENT = "swift:jobs:unsent"  # sorted set: accepted, but not yet seen in a queue
RECOVERY = "swift:recovery"  # string with expiry: somebody has just compared queues and jobs
WORKERS = "swift:workers"  # sorted set: worker names by last heartbeat
FREE = "swift:free"  # sorted set: idle UNet workers by the time until which that is known
PUBLISHERS = "swift:metrics"  # sorted set: processes that publish metrics, by when those expire
PROMISED = "swift:promised"  # sorted set: UNet workers' own queues by the time of the last promise


def job(job_id: str) -> str:
    """Hash: the job."""
    return f"swift:job:{job_id}"


def by_status(status: str) -> str:
    """Sorted set: ids of the jobs in one state, by creation time."""
    return f"swift:jobs:{status}"


def events(job_id: str) -> str:
    """Stream: what happens to a job."""
    return f"swift:job:{job_id}:events"


def lease(job_id: str) -> str:
    """String with expiry: the attempt that holds the job."""
    return f"swift:job:{job_id}:lease"


def watched(job_id: str) -> str:
    """String with expiry: somebody follows the job's events and would like previews."""
    return f"swift:job:{job_id}:watched"


def idempotency(key: str) -> str:
    """Hash: the job and the request that an Idempotency-Key stands for."""
    return f"swift:idempotency:{key}"


def inspection(bucket: str, etag: str, size_bytes: int) -> str:
    """String with expiry: what the header of a LoRA file tells. The number counts changes of what is read."""
    return f"swift:lora:2:{bucket}:{etag}:{size_bytes}"


def upload(name: str, upload_id: str) -> str:
    """String with expiry: the ETag of the LoRA that an upload has become."""
    return f"swift:upload:{name}:{upload_id}"


def worker(name: str) -> str:
    """String with expiry: a worker's heartbeat."""
    return f"swift:worker:{name}"


def holdings(worker: str) -> str:
    """String with expiry: the LoRAs that a UNet worker has in memory and in its weights."""
    return f"swift:holdings:{worker}"


def disk(host: str) -> str:
    """Set with expiry: the LoRAs on the disk of a host."""
    return f"swift:disk:{host}"


def prefetch(worker: str) -> str:
    """Channel: LoRAs that an accepted job will want, and this worker will probably draw it."""
    return f"swift:prefetch:{worker}"


def worker_metrics(name: str) -> str:
    """String with expiry: a process's metrics as Prometheus text."""
    return f"swift:metrics:{name}"


# --- the residual Redis; what only workers see is named in workers/residuals -----------------------


def net_steps(net: str) -> str:
    """List: tickets of steps that wait for a net."""
    return f"swift:steps:{net}"


# --- objects in the image bucket -----------------------------------------------------------------


def control_key(sha256: str) -> str:
    """PNG: a control image, named by the hash of its bytes."""
    return f"control/{sha256}.png"
