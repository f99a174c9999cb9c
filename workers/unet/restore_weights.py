"""Undoes an attempt's patches after an error, so that they reach no other job."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from workers.families.base import BaseModel
from workers.runtime.model_cache import ModelCache

log = logging.getLogger(__name__)


@contextmanager
def restore_weights_on_error(models: ModelCache[BaseModel], model: BaseModel) -> Iterator[None]:
    """Restore the base weights if the block raises; patches of a job that succeeds stay for the next one."""
    try:
        yield
    except BaseException:
        model.patched_with = set()
        try:
            model.patcher.restore()
        except Exception:
            log.exception("weights not restored: the model is loaded anew", extra={"model": model.name})
            models.discard(model.name)
        raise
