"""Receives a LoRA file: checks its header before anything is sent to S3, counts and hashes the rest."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, NamedTuple

from api.loras.staging import Staging
from api.middleware.request_body import Budget
from shared.errors import InvalidLora, TooLarge
from shared.storage.lora_header import LoraInfo, bad_headers_as_invalid_lora, inspect_lora, refuse_pickle
from shared.storage.loras import read_lora_info
from shared.storage.object_store import ObjectStat
from shared.storage.safetensors_header import LENGTH_BYTES, Header, header_bytes, parse_header

CHUNK_BYTES = 1 << 20


class ReceivedUpload(NamedTuple):
    """A staged file, the contents of its header, and the hash of its bytes."""

    staged: ObjectStat
    info: LoraInfo
    sha256: str


class UploadBody:
    """The body of a request, hashed as it is read; raises `TooLarge` when more than ``limit`` bytes come.

    ``length`` is what the client has announced; None if it sends in chunks.
    """

    def __init__(self, stream: IO[bytes], *, length: int | None, limit: int) -> None:
        if length is not None and length > limit:
            raise TooLarge(f"the file has {length} bytes, the limit is {limit} (SWIFT_MAX_LORA_BYTES)")
        self._stream, self.length, self._limit = stream, length, limit
        self._digest = hashlib.sha256()
        self.received = 0

    def read(self, count: int) -> bytes:
        """``count`` bytes, or fewer at the body's end."""
        data = bytearray()
        while len(data) < count:
            chunk = self._stream.read(min(count - len(data), CHUNK_BYTES))
            if not chunk:
                break
            data += chunk
            self.received += len(chunk)
            if self.received > self._limit:
                raise TooLarge(
                    f"the file has more than {self._limit} bytes, the limit (SWIFT_MAX_LORA_BYTES)"
                )
        self._digest.update(data)
        return bytes(data)

    def chunks(self) -> Iterator[bytes]:
        """The rest."""
        while chunk := self.read(CHUNK_BYTES):
            yield chunk

    @property
    def sha256(self) -> str:
        """Of what was read so far."""
        return self._digest.hexdigest()


class _CheckedFile:
    """The whole file: its ``start``, which was read already, then the rest of the body.

    At the end it raises `InvalidLora` unless it had ``file_bytes``.
    """

    def __init__(self, start: bytes, body: UploadBody, file_bytes: int) -> None:
        self._start = memoryview(start)
        self._body = body
        self._file_bytes = file_bytes

    def read(self, count: int) -> bytes:
        """``count`` bytes, or fewer at the end."""
        first, self._start = self._start[:count], self._start[count:]
        rest = self._body.read(count - len(first))
        if len(first) + len(rest) < count and self._body.received != self._file_bytes:
            detail = f"it has {self._body.received} bytes, its header says {self._file_bytes}"
            raise InvalidLora(f"safetensors file: {detail}")
        return bytes(first) + rest if first else rest


def receive(key: str, body: UploadBody, staging: Staging, budget: Budget) -> ReceivedUpload:
    """Stage the file that ``body`` is, for the object ``key``; its header is in memory, within ``budget``.

    Raises `InvalidLora`, `TooLarge` or `Unavailable`, and then nothing is left.
    """
    upload = staging.begin()
    with ExitStack() as held:
        try:
            first = body.read(LENGTH_BYTES)
            refuse_pickle(first)
            with bad_headers_as_invalid_lora():
                length = header_bytes(first, body.length)
            held.enter_context(budget.hold(length))
            start, header = _read_header(body, first, length)
            info = inspect_lora(header.tensors, header.metadata)
        except InvalidLora:
            for _ in body.chunks():
                pass  # a client that still sends would not read the response
            raise
        staging.store(key, upload, _CheckedFile(start, body, header.file_bytes))
    return ReceivedUpload(staging.find(key, upload), info, body.sha256)


def inspect_staged(key: str, upload: str, staging: Staging, limit: int) -> ReceivedUpload:
    """Check a file that somebody put at a presigned URL; one that is refused is removed."""
    staged = staging.find(key, upload)
    try:
        if staged.size_bytes > limit:
            raise TooLarge(
                f"the file has {staged.size_bytes} bytes, the limit is {limit} (SWIFT_MAX_LORA_BYTES)"
            )
        info = read_lora_info(staging.bucket, staged)
    except (InvalidLora, TooLarge):
        staging.discard(staged)
        raise
    digest = hashlib.sha256()
    whole = staging.bucket.read_range(staged.key, etag=staged.etag, start=0, stop=staged.size_bytes)
    for chunk in whole.chunks:
        digest.update(chunk)
    return ReceivedUpload(staged, info, digest.hexdigest())


def _read_header(body: UploadBody, first: bytes, length: int) -> tuple[bytes, Header]:
    """The bytes up to the end of the header, whose own bytes are ``length``, and its contents."""
    text = body.read(length)
    if len(text) < length:
        raise InvalidLora("not a safetensors file: it ends inside its header")
    with bad_headers_as_invalid_lora():
        header = parse_header(text, body.length)
    return first + text, header
