"""Undoes an attempt's patches after an error, so that they reach no other job."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import DeviceFull, DeviceLost, WorkerStopping
from workers.families.base import BaseModel
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)


@contextmanager
def restore_weights_on_error(worker: UNetWorker, model: BaseModel) -> Iterator[None]:
    """Restore the base weights if the block raises; patches of a job that succeeds stay for the next one.

    But none stay in a model whose text encoders are loaded apart: they may be unloaded before that. On a lost
    device nothing is restored, nor by a worker that stops: no other job is computed there, and the one at
    hand shall go to another worker at once. On a full one LoRAs give the memory back that they take beside
    the weights. Torch's errors are translated.
    """
    try:
        with worker.device_loss.translate_errors():
            yield
            if model.apart:
                model.patcher.restore()
    except (DeviceLost, WorkerStopping):
        raise
    except BaseException as error:
        model.patched_with = set()
        try:
            with worker.device_loss.translate_errors():
                model.patcher.restore()
                if isinstance(error, DeviceFull):
                    model.patcher.release_cached()
        except DeviceLost:
            raise
        except Exception:
            log.exception("weights not restored: the model is loaded anew", extra={"model": model.name})
            worker.models.discard(model.name)
        raise
