"""Names of all keys in the control Redis and of objects in S3, in one place so that none collide."""

import re

#: The tenant that owns everything with authentication off, and every record that names no other.
LOCAL = "local"

JOBS = "swift:jobs"  # sorted set: job ids by creation time
JOB_TENANTS = "swift:jobs:tenants"  # hash: the tenant of each job that is not the tenant LOCAL's
USAGE_SERIES = "swift:usage:series"  # hash: milliseconds of devices by tenant, as metrics show them
USAGE_TOTALS = "swift:usage:totals"  # sorted set: tenants by milliseconds of devices, on all days
LAST_EVENT = "swift:jobs:last_event"  # string: the id of the latest event of any job
MODELS = "swift:jobs:models"  # set: models that jobs have been for
UNSENT = "swift:jobs:unsent"  # sorted set: ids of accepted jobs whose message is not sent yet
LEASES_CHECKED = "swift:leases:checked"  # string with expiry: a worker has just looked for expired leases
RECOVERY = "swift:recovery"  # string with expiry: a worker has just compared queues and jobs
# The name of version 0.1, kept: data exists under it.
UNRUNNABLE = "swift:jobs:unserved"  # sorted set: queued jobs that no worker can run, by when first seen
LEAVING = "swift:leaving"  # sorted set: workers that were stopped by SIGTERM, by when
SERVER = "swift:server"  # hash: run id of the control Redis, since when it answers, writes that it refused
IMAGES = "swift:images"  # sorted set: ids of ended or deleted jobs by the time to delete their images
CONTROL_IMAGES = "swift:control_images"  # sorted set: control images (`control_name`) by their last use
CONTROL_IMAGES_DELETED = "swift:control_images:deleted"  # sorted set: those being deleted now
SWEEP = "swift:sweep"  # string with expiry: a worker sweeps right now
SWEEP_CURSORS = "swift:sweep:cursors"  # hash: where the next sweep continues
MESSAGES_SEEN = "swift:messages"  # sorted set: unacknowledged messages by when they were first seen
BINDINGS_SEEN = "swift:bindings"  # sorted set: bindings of broadcast queues by when they were first seen
WORKERS = "swift:workers"  # sorted set: worker names by last heartbeat
FREE_WORKERS = "swift:availability"  # sorted set: free UNet workers by when their registration expires
PUBLISHERS = "swift:metrics"  # sorted set: processes that publish metrics, by when those expire
RESERVED_QUEUES = "swift:reservations"  # sorted set: workers' queues with a reserved job, by when reserved
UPLOADS_SWEPT = "swift:uploads:swept"  # string with expiry: leftovers of uploads were just removed
WEBHOOK_EVENTS = "swift:webhooks:events"  # stream: changes of jobs of which no delivery is made yet
WEBHOOK_OWNERS = "swift:webhooks:owners"  # set: tenants with webhook endpoints
WEBHOOK_TENANTS = "swift:webhooks:tenants"  # sorted set: tenants with deliveries, by when the next is due
SCHEDULING = (
    "swift:scheduling"  # hash: order of the latest held job; by model: virtual time, number of held jobs
)
DEADLINES = "swift:deadlines"  # sorted set: jobs that have not ended by when they must have
UNCLAIMED = "swift:unclaimed"  # sorted set: released jobs that no worker has begun, by when released
DELAYED = "swift:delayed"  # sorted set: jobs that were given back, by when they are held again

TENANTS = "swift:tenants"  # sorted set: ids of tenants, in the order of letters
TENANTS_DELETED = "swift:tenants:deleted"  # set: ids of tenants that were deleted, which are not given again
TENANTS_DELETING = "swift:tenants:deleting"  # sorted set: those that have left something, by when deleted
AUDIT = "swift:audit"  # stream: what admins have done, bounded
RATE_LIMITS = "swift:limits"  # begins the keys of requests counted by the package limits


def tenant(tenant_id: str) -> str:
    """Hash: a tenant and its limits."""
    return f"swift:tenant:{tenant_id}"


def tenant_keys(tenant_id: str) -> str:
    """Sorted set: ids of a tenant's API keys, by creation time."""
    return f"swift:tenant:{tenant_id}:keys"


def tenant_key_uses(tenant_id: str) -> str:
    """Hash: when each of a tenant's API keys was used last."""
    return f"swift:tenant:{tenant_id}:key_uses"


def api_key(key_id: str) -> str:
    """Hash: what is stored of an API key."""
    return f"swift:api_key:{key_id}"


def session(token_sha256: str) -> str:
    """Hash with expiry: a browser's login."""
    return f"swift:session:{token_sha256}"


def caller_options(key_id: str | None) -> str:
    """Hash with expiry: what the caller with an API key has set in a compatible API, as JSON.

    ``None``: authentication is off.
    """
    return f"swift:options:{key_id or LOCAL}"


def waiting_calls(tenant: str) -> str:
    """Sorted set with expiry: jobs that calls of a compatible API wait for, by when they are forgotten."""
    return f"swift:waiting_calls:{tenant}"


def key_sessions(key_id: str) -> str:
    """Sorted set with expiry: names of a key's sessions, by when they began."""
    return f"swift:api_key:{key_id}:sessions"


def job(job_id: str) -> str:
    """Hash: the job."""
    return f"swift:job:{job_id}"


def by_status(status: str) -> str:
    """Sorted set: ids of the jobs in one state, by creation time."""
    return f"swift:jobs:{status}"


def jobs_of(tenant: str) -> str:
    """Sorted set: ids of a tenant's jobs by creation time; with a colon and a status those in one state."""
    return f"swift:tenant:{tenant}:jobs"


def pixel_steps(tenant: str) -> str:
    """Begins the keys of strings with expiry, which end with a day since the epoch: what its jobs cost."""
    return f"swift:tenant:{tenant}:pixel_steps:"


def lora_uploads(tenant: str) -> str:
    """String with expiry: a LoRA of the tenant, whose bytes are limited, is being published."""
    return f"swift:tenant:{tenant}:lora_uploads"


def upload_forms(tenant: str) -> str:
    """Sorted set with expiry: uploads whose forms S3 takes a file of the tenant by, by when those end."""
    return f"swift:tenant:{tenant}:upload_forms"


def by_model(status: str, model: str) -> str:
    """Sorted set: ids of a model's jobs that are queued, or running, by creation time."""
    return f"swift:jobs:{status}:{model}"


def events(job_id: str) -> str:
    """Stream: the events of a job."""
    return f"swift:job:{job_id}:events"


def tenant_events(tenant: str) -> str:
    """Stream with expiry: the latest events of a tenant's jobs, without previews."""
    return f"swift:tenant:{tenant}:events"


def usage(day: int) -> str:
    """Hash with expiry: what tenants have used on a day since the epoch, by ``TENANT:WHAT``."""
    return f"swift:usage:{day}"


def lease(job_id: str) -> str:
    """String with expiry: the attempt that holds the job."""
    return f"swift:job:{job_id}:lease"


def watched(job_id: str) -> str:
    """String with expiry: a client follows the job's events, so that previews are worth making."""
    return f"swift:job:{job_id}:watched"


def idempotency(key: str, tenant: str) -> str:
    """Hash: the id and the hash of the request that a tenant's Idempotency-Key belongs to."""
    owner = "" if tenant == LOCAL else f"tenant:{tenant}:"
    return f"swift:{owner}idempotency:{key}"


def webhooks(tenant: str) -> str:
    """Hash: the webhook endpoints of a tenant by their ids; `shared/jobs/lua/job.lua` asks for it, too."""
    return f"swift:tenant:{tenant}:webhooks"


def webhook_default(tenant: str) -> str:
    """Hash: the endpoint whose secrets sign the webhooks of single jobs of a tenant."""
    return f"swift:tenant:{tenant}:webhook_default"


def webhook_deliveries(tenant: str, endpoint_id: str) -> str:
    """Sorted set with expiry: message ids of the deliveries to an endpoint, by when they were made."""
    return f"swift:tenant:{tenant}:webhooks:{endpoint_id}:deliveries"


def webhook_due(tenant: str) -> str:
    """Sorted set: deliveries of a tenant that are to be sent, as ``ENDPOINT:MESSAGE``, by when."""
    return f"swift:tenant:{tenant}:webhooks:due"


def webhook_delivery(tenant: str, endpoint_id: str, message_id: str) -> str:
    """Hash: one delivery; with expiry, once it has ended."""
    return f"swift:tenant:{tenant}:webhooks:delivery:{endpoint_id}:{message_id}"


def job_webhook_gone(job_id: str) -> str:
    """String with expiry: the receiver of a job's own webhook has answered 410."""
    return f"swift:job:{job_id}:webhook_gone"


def lora_header(place: str, etag: str, size_bytes: int) -> str:
    """String with expiry: facts read from a LoRA file's header. The number is the version of their format.

    ``place`` is the bucket and the folder of the file (`shared.storage.loras.place_of`).
    """
    return f"swift:lora:3:{place}:{etag}:{size_bytes}"


def upload(name: str, upload_id: str) -> str:
    """String with expiry: the ETag of the LoRA that was published from an upload; a name with its folder."""
    return f"swift:upload:{name}:{upload_id}"


def worker(name: str) -> str:
    """String with expiry: a worker's heartbeat."""
    return f"swift:worker:{name}"


def lora_inventory(worker: str) -> str:
    """String with expiry: the LoRAs that a UNet worker has in memory and in its weights."""
    return f"swift:lora_inventory:{worker}"


def model_holders(model: str) -> str:
    """Sorted set: UNet workers that have loaded a base model, by when their registration expires."""
    return f"swift:loaded:{model}"


def controlnet_servers(controlnet: str, platform: str = "") -> str:
    """Sorted set: workers that would take a step of a ControlNet now, by when their registration expires.

    With ``platform`` those of that one only; a platform is named by its digest, which has no colon.
    """
    return f"swift:controlnet_servers:{platform}:{controlnet}"


def model_workers(model: str) -> str:
    """Sorted set: UNet workers that take jobs of a base model, by when their registration expires."""
    return f"swift:model_workers:{model}"


def held_count(model: str) -> str:
    """Field of `SCHEDULING`: how many jobs of a model are held."""
    return f"held:{model}"


def held(model: str, tenant: str) -> str:
    """Sorted set: jobs of a tenant that wait for their release, in their order."""
    return f"swift:held:{model}:{tenant}"


def urgent_jobs(model: str, tenant: str) -> str:
    """Sorted set with expiry: a tenant's interactive jobs that wait, held or released, by when first held."""
    return f"swift:urgent_jobs:{model}:{tenant}"


def urgent_tenants(model: str) -> str:
    """Sorted set: tenants below their cap with interactive jobs that wait, by what they were given."""
    return f"swift:urgent_tenants:{model}"


def urgent_released(model: str) -> str:
    """Sorted set with expiry: released ones, by the virtual time at which their release began."""
    return f"swift:urgent_released:{model}"


def held_tenants(model: str) -> str:
    """Sorted set: tenants below their cap with held jobs of a model, by virtual time."""
    return f"swift:held_tenants:{model}"


def held_models(tenant: str) -> str:
    """Set: models of which a tenant has held jobs."""
    return f"swift:held_models:{tenant}"


def released(tenant: str) -> str:
    """Set: jobs of a tenant that were released and have not ended."""
    return f"swift:released:{tenant}"


def share(tenant: str) -> str:
    """Hash with expiry: by model, a tenant's virtual time and the mean cost of its jobs."""
    return f"swift:share:{tenant}"


#: Kinds of measured times that tell how long jobs took, by their estimates.
ETA_RATIO = "eta_ratio:"
#: Of these times, the quantile that an ``eta_p90_s`` takes, by kind.
ETA_QUANTILE = "eta_quantile:"


def measured(model: str, kind: str) -> str:
    """List: the latest times of one kind that workers have measured of a model's jobs, newest first."""
    return f"swift:measured:{model}:{kind}"


def serving(worker: str) -> str:
    """String with expiry: a UNet worker has just served a step of another worker's job."""
    return f"swift:serving:{worker}"


def lora_disk_cache(host: str) -> str:
    """Set with expiry: the LoRAs in the disk cache of a host."""
    return f"swift:lora_disk_cache:{host}"


def worker_metrics(name: str) -> str:
    """String with expiry: a process's metrics as Prometheus text."""
    return f"swift:metrics:{name}"


# --- the residual Redis; what only workers use is named in workers/transport/keys.py ------------------

#: Begins every key of the transport. The number is the version of its messages: workers of two versions
#: share no key, so neither reads what the other wrote.
TRANSPORT = "swift:transport:6"


def controlnet_steps(controlnet: str, platform: str = "") -> str:
    """List: steps that wait for a ControlNet; with ``platform`` those that only workers of it may compute.

    A platform is named by its digest, which has no colon.
    """
    return (
        f"{TRANSPORT}:exact_steps:{platform}:{controlnet}" if platform else f"{TRANSPORT}:steps:{controlnet}"
    )


# --- objects in the image bucket -----------------------------------------------------------------


#: What keys of control images and of generated images begin with. The second stays as version 0.1 wrote it:
#: buckets hold images under it, which jobs name and which the sweep must find.
CONTROL_PREFIX, IMAGE_PREFIX = "control/", "pictures/"


def images_prefix(job_id: str) -> str:
    """What the keys of all images of a job begin with."""
    return f"{IMAGE_PREFIX}{job_id}/"


def image_key(job_id: str, attempt: str, n: int, output_format: str = "png") -> str:
    """Image ``n`` of a job. The key has the attempt: one that lost its lease overwrites nothing."""
    return f"{images_prefix(job_id)}{attempt}-{n}.{output_format}"


def control_prefix(tenant: str) -> str:
    """What the keys of all control images of a tenant begin with; for `LOCAL` also those of the others."""
    return CONTROL_PREFIX if tenant == LOCAL else f"{CONTROL_PREFIX}{tenant}/"


def control_key(sha256: str, tenant: str) -> str:
    """PNG: a control image of a tenant, named by the hash of its bytes."""
    return f"{control_prefix(tenant)}{sha256}.png"


def control_name(key: str) -> str | None:
    """What stands for a control image in `CONTROL_IMAGES`: its key without what begins and ends all.

    ``None`` for other keys.
    """
    found = re.fullmatch(rf"{CONTROL_PREFIX}((?:[a-z0-9-]{{1,32}}/)?[0-9a-f]{{64}})\.png", key)
    return found[1] if found else None


def control_key_of(name: str) -> str:
    """The key of the control image that `control_name` gives this name."""
    return f"{CONTROL_PREFIX}{name}.png"
