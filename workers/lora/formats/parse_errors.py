"""Decides whether an error while a LoRA is parsed is the file's fault."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from shared.errors import InvalidLora, SwiftError

log = logging.getLogger(__name__)


@contextmanager
def parse_errors_as_invalid(keys: Iterable[str] = ()) -> Iterator[None]:
    """Raise what a file makes libraries raise as `InvalidLora`, with the keys of the module concerned.

    Our own errors, those of the disk and a lack of memory pass: no file causes them.
    """
    try:
        yield
    except (SwiftError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if _is_out_of_memory(error):
            raise
        log.exception("lora cannot be parsed")
        where = f" at {', '.join(sorted(keys))}" if keys else ""
        raise InvalidLora(f"the file cannot be read as a LoRA{where}: {error!a:.500}") from error


def _is_out_of_memory(error: Exception) -> bool:
    """torch's CPU allocator raises a plain `RuntimeError`."""
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
