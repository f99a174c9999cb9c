"""Who is to blame when a LoRA cannot be parsed: its file, or something that has nothing to do with it."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from shared.errors import InvalidLora, SwiftError

log = logging.getLogger(__name__)


@contextmanager
def parse_errors_as_invalid(keys: Iterable[str] = ()) -> Iterator[None]:
    """Whatever a file makes our libraries raise is `InvalidLora`, with the keys of the module it was at.

    What no file can cause stays what it is: our own errors, those of the disk, and a lack of memory.
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
    """torch has no class for what its allocator of a CPU raises."""
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
