"""All images of a job as one ZIP file, sent while it is written: memory holds a chunk, not an image."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared.image_files.formats import format_of_name
from shared.jobs.record import Job
from shared.storage.object_store import Bucket

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

CHUNK_BYTES = 256 << 10
#: The earliest time that a ZIP file can name.
_EPOCH = 315_532_800.0


def archive_etag(job: Job) -> str:
    """Names the content of a job's archive, whose bytes depend on nothing else."""
    return hashlib.sha256("".join(image.sha256 for image in job.images).encode()).hexdigest()


def write_archive(job: Job, bucket: Bucket) -> Iterator[bytes]:
    """The bytes of a ZIP file with the images of a job, uncompressed, as their formats compress already.

    Opens one image after another; what goes wrong with a later one breaks the file off.
    """
    target = _Unseekable()
    time = datetime.fromtimestamp(max(job.finished_at or 0.0, _EPOCH), UTC).timetuple()[:6]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for n, image in enumerate(job.images):
            name = image_file_name(job, n)
            _, body = bucket.open(image.key)
            try:
                with archive.open(zipfile.ZipInfo(name, time), "w") as entry:
                    for chunk in body.iter_chunks(CHUNK_BYTES):
                        entry.write(chunk)
                        yield target.take()
            finally:
                body.close()
            yield target.take()
    yield target.take()


def image_file_name(job: Job, n: int) -> str:
    """What image ``n`` of a job is called when it is saved."""
    return f"{job.id}-{n}.{format_of_name(job.images[n].key)}"


class _Unseekable(io.RawIOBase):
    """What a `ZipFile` writes to: no file, so that it never goes back; bytes are taken away as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: "Buffer", /) -> int:
        """Keep ``data`` until it is taken."""
        self._written.append(bytes(data))
        return len(self._written[-1])

    def take(self) -> bytes:
        """What was written since the last call."""
        data, self._written = b"".join(self._written), []
        return data
