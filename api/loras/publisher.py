"""The last step of every upload: a staged file becomes the LoRA of its name."""

from typing import TYPE_CHECKING, NamedTuple

from api.loras.header_cache import LoraHeaderCache
from api.loras.quota import LoraQuota
from api.loras.staging import Staging
from api.loras.upload_validation import ReceivedUpload
from api.middleware.request_body import Budget
from api.schemas.loras import LoraDetail
from api.server.tenant_slots import TenantSlots
from shared import keys
from shared.errors import Conflict, LimitExceeded, NotFound
from shared.settings import Settings
from shared.storage.lora_names import folder_of
from shared.storage.loras import MAX_ASYNC_STEPS, lora_key, own_max_async_steps
from shared.storage.object_store import Bucket
from shared.storage.safetensors_header import MAX_HEADER_BYTES

if TYPE_CHECKING:
    from redis import Redis

#: Uploads that one process receives at once: each holds up to two parts of 5 MiB in memory.
UPLOADS = 32
#: Limit of their headers in memory: a few of the largest, and those of all others.
HEADERS_BYTES = 4 * MAX_HEADER_BYTES
#: How long the completion of an upload may be repeated.
COMPLETED_S = 86_400
#: S3 responds to a copy when it is done, and some servers copy slowly.
COPY_S = 300


class PublishedLora(NamedTuple):
    """A LoRA that has just appeared in the catalog; ``is_new``: it replaced none."""

    detail: LoraDetail
    is_new: bool


class LoraPublisher:
    """Publishes staged files as LoRAs, and limits how many are received at once."""

    def __init__(
        self, settings: Settings, loras: Bucket, lora_headers: LoraHeaderCache, control: "Redis"
    ) -> None:
        public = settings.model_copy(
            update={"s3_endpoint_url": settings.s3_public_url or settings.s3_endpoint_url}
        )
        self.staging = Staging(
            Bucket(settings, settings.lora_bucket, read_timeout_s=COPY_S),
            Bucket(public, settings.lora_bucket),
        )
        self._loras, self._lora_headers, self._control = loras, lora_headers, control
        self.quota = LoraQuota(loras, control)
        self.headers = Budget(HEADERS_BYTES, "large headers of LoRAs")
        self.slots = TenantSlots(UPLOADS, policy="lora_uploads", what="LoRA uploads")

    def publish(
        self, name: str, tenant: str, received: ReceivedUpload, bound: int | None, *, upload: str = ""
    ) -> PublishedLora:
        """Publish the staged file as a LoRA of the tenant; ``upload`` is remembered as complete.

        Raises `LimitExceeded`, and then nothing is left of it.
        """
        key = lora_key(name, tenant)
        try:
            with self.quota.publishing(tenant, key, received.staged.size_bytes):
                is_new = not self._loras.exists(key)
                stat = self.staging.publish(key, received.staged, _metadata(received, bound))
        except LimitExceeded:
            self.staging.discard(received.staged)
            raise
        self._lora_headers.store(stat, received.info)
        if upload:
            self._control.set(_upload_key(name, tenant, upload), stat.etag, ex=COMPLETED_S)
        return PublishedLora(LoraDetail.of(name, stat, self._loras.name, received.info, bound), is_new)

    def completed(self, name: str, tenant: str, upload: str) -> LoraDetail | None:
        """The LoRA that an upload has become; raises `Conflict` if it was replaced or deleted since."""
        etag = self._control.get(_upload_key(name, tenant, upload))
        if etag is None:
            return None
        try:
            lora, found = self._lora_headers.get_or_read(name, tenant)
        except NotFound:
            lora = None
        if lora is None or lora.stat.etag != etag:
            raise Conflict(f"upload {upload!r} is complete, and LoRA {name!r} was replaced or deleted since")
        bound = own_max_async_steps(lora.stat)
        return LoraDetail.of(name, lora.stat, self._loras.name, found.checked(), bound)


def _upload_key(name: str, tenant: str, upload: str) -> str:
    return keys.upload(folder_of(tenant) + name, upload)


def _metadata(received: ReceivedUpload, bound: int | None) -> dict[str, str]:
    """The object's metadata: for people and other tools, and the limit of late steps for every job."""
    info = received.info
    metadata = {
        "sha256": received.sha256,
        "rank": str(info.rank),
        "parts": ",".join(info.parts),
        "family": info.family or "unknown",
    }
    return metadata if bound is None else metadata | {MAX_ASYNC_STEPS: str(bound)}
