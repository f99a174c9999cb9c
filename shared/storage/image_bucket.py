"""The image bucket: images, which are deleted with their job, and control images, which outlive it.

A control image is named by its tenant and its content and may be of many of the tenant's jobs, and of
receipts that are kept elsewhere: its time to live begins anew whenever it is stored or read. Redis records
when that was.
"""

from typing import IO, TYPE_CHECKING, Any

from shared import keys
from shared.errors import NotFound, Unavailable
from shared.lua_script import read_lua
from shared.settings import Settings
from shared.storage.object_store import Bucket, ObjectStat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.response import StreamingBody
    from redis import Redis

#: A deletion of control images has succeeded or failed within this time.
DELETING_S = 600


class ImageBucket(Bucket):
    """The image bucket as `Bucket`; a control image that is being deleted right now is `Unavailable`."""

    def __init__(self, settings: Settings, redis: "Redis", *, attempts: int = 5) -> None:
        super().__init__(settings, settings.image_bucket, attempts=attempts)
        self._ttl_s = settings.control_image_ttl_s
        self._script = redis.register_script(read_lua("shared.storage", "control_images"))

    def put(
        self,
        key: str,
        body: "bytes | IO[bytes]",
        *,
        content_type: str,
        metadata: "Mapping[str, str] | None" = None,
    ) -> str:
        """Store an object whole; returns its ETag."""
        self._use(key)
        return super().put(key, body, content_type=content_type, metadata=metadata)

    def add(self, key: str, png: bytes) -> str | None:
        """Store a control image unless it is there. Returns what `discard` takes, by which only a first use
        of it is taken back; ``None``: others have used it.
        """
        name = keys.control_name(key) or ""
        added: Any = self._call("add", name)
        if added == 0:
            raise self._is_being_deleted(key)
        try:
            Bucket.head(self, key)
        except NotFound:
            Bucket.put(self, key, png, content_type="image/png")
            return str(added) or None
        return None

    def discard(self, added: "Mapping[str, str]") -> None:
        """Delete control images, by key with what `add` has returned, that nobody has used since."""
        flat = [part for key, when in added.items() for part in (keys.control_name(key) or "", when)]
        names = self._call("discard", *flat) if flat else []
        self._delete_taken(names)

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        self._use(key)
        return super().get(key)

    def open(self, key: str) -> "tuple[int, StreamingBody]":
        """The length of an object and its bytes as they arrive; the caller closes the stream."""
        self._use(key)
        return super().open(key)

    def head(self, key: str) -> ObjectStat:
        """The metadata of an object; `exists` calls this."""
        self._use(key)
        return super().head(key)

    def note(self, names: list[str]) -> None:
        """Begin the time to live of control images without a recorded use."""
        if names:
            self._call("note", *names)

    def delete_unused(self, limit: int) -> int:
        """Delete control images whose time to live is over, ``limit`` at most; returns how many.

        Between the decision and the deletion none can come into use.
        """
        names: list[str] = self._call("take", self._ttl_s, limit, DELETING_S)
        self._delete_taken(names)
        return len(names)

    def _delete_taken(self, names: list[str]) -> None:
        for name in names:
            self.delete(keys.control_key_of(name))
        if names:
            self._call("deleted", *names)

    def _use(self, key: str) -> None:
        name = keys.control_name(key)
        if name is not None and not self._call("use", name):
            raise self._is_being_deleted(key)

    def _is_being_deleted(self, key: str) -> Unavailable:
        return Unavailable(f"{key!r} is being deleted right now; store it again")

    def _call(self, verb: str, *args: str | int) -> "list[str]":
        reply: list[str] = self._script(
            keys=[keys.CONTROL_IMAGES, keys.CONTROL_IMAGES_DELETED], args=[verb, *args]
        )
        return reply
