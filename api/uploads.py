"""Receives LoRA files: streamed to disk, bounded, checked to the last byte before S3 sees them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO

from flask import Request

from shared.errors import InvalidLora, TooLarge
from shared.loras import LoraInfo, inspect_lora
from shared.safetensors_header import LENGTH_BYTES, header_bytes, parse_header
from shared.settings import Settings

CHUNK_BYTES = 1 << 20
#: Real headers have some hundred bytes a module; this is more than a thousand modules of room.
MAX_HEADER_BYTES = 16 << 20


@contextmanager
def received_lora(request: Request, settings: Settings) -> Iterator[tuple[IO[bytes], LoraInfo, str]]:
    """The body as a file, what its header tells, and its sha256; raises `InvalidLora` or `TooLarge`."""
    folder = settings.home / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as file:
        sha256 = _receive(request, file, settings.max_lora_bytes)
        yield file, _inspect(file), sha256


def _receive(request: Request, file: IO[bytes], limit: int) -> str:
    request.max_content_length = limit
    if (request.content_length or 0) > limit:
        raise TooLarge(f"the file has {request.content_length} bytes, the limit is {limit}")
    digest = hashlib.sha256()
    while chunk := request.stream.read(CHUNK_BYTES):
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()


def _inspect(file: IO[bytes]) -> LoraInfo:
    size = file.tell()
    file.seek(0)
    length = header_bytes(file.read(LENGTH_BYTES), size)
    if length > MAX_HEADER_BYTES:
        raise InvalidLora(f"the header has {length} bytes, more than any LoRA's")
    info = inspect_lora(parse_header(file.read(length), size)[0])
    file.seek(0)
    if not info.rank:
        raise InvalidLora("the file has no LoRA: none of its tensors is a lora_A or lora_down")
    return info
