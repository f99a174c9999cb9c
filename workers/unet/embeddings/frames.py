"""How a prompt's embeddings are written as bytes: names and a checksum, then a frame for each tensor."""

import hashlib
from collections.abc import Mapping

from torch import Tensor

from workers.transport.wire import InvalidFrame, pack, pack_bytes, unpack, unpack_bytes


def pack_texts(texts: Mapping[str, Tensor]) -> bytes:
    """One frame for tensors in the host's memory, by name."""
    frames = {name: pack({}, tensor) for name, tensor in texts.items()}
    data = b"".join(frames.values())
    sizes = {name: len(frame) for name, frame in frames.items()}
    return pack_bytes({"sizes": sizes, "sha256": hashlib.sha256(data).hexdigest()}, data)


def unpack_texts(frame: bytes) -> dict[str, Tensor]:
    """The tensors; raises `InvalidFrame` for anything but what `pack_texts` has written."""
    header, data = unpack_bytes(frame)
    sizes = header.get("sizes")
    if not isinstance(sizes, dict) or hashlib.sha256(data).hexdigest() != header.get("sha256"):
        raise InvalidFrame("not the embeddings of a prompt, or not all of them")
    texts, start = {}, 0
    for name, size_bytes in sizes.items():
        _, tensor = unpack(bytes(data[start : start + size_bytes]))
        if tensor is None:
            raise InvalidFrame(f"{name} of a prompt is no tensor")
        texts[name], start = tensor, start + size_bytes
    return texts
