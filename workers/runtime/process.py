"""What every worker process does first: sets threads and logging, checks what it serves."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from shared.catalog.entries import NO_CONTROLNETS, Catalog
from shared.errors import DeviceFull, InvalidSetting, ModelFailed, SwiftError
from shared.logs import escape
from shared.settings import Settings
from workers.runtime.celery_worker.process_logs import configure_celery_logging
from workers.runtime.model_cache import ModelCache
from workers.runtime.process_exit import skip_final_gc


def prepare_process(settings: Settings, name: str, level: int = logging.INFO) -> None:
    """Set torch's threads, quiet the libraries, log as the worker ``name`` from ``level`` on; end quickly."""
    configure_celery_logging(settings, name, level)
    skip_final_gc()
    torch.set_num_threads(settings.threads_per_worker)
    sys.setswitchinterval(0.0005)  # the loop's thread gets the GIL back soon from one that parses a LoRA
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()


@contextmanager
def start_or_exit() -> Iterator[None]:
    """End the process with the reason if the block raises: Celery would log the error and take jobs."""
    try:
        yield
    except Exception as error:
        why = escape(f"{type(error).__name__}: {error}")
        print(f"this worker cannot start: {why}", file=sys.stderr, flush=True)
        raise SystemExit(1) from error


def check_device(settings: Settings) -> None:
    """Raise `InvalidSetting` where torch does not see the device: loading would fail, again and again."""
    named = f"SWIFT_DEVICE={settings.device_name or settings.device}"
    kind, _, index = settings.device.partition(":")
    if kind == "cuda" and torch.cuda.device_count() <= int(index or 0):
        raise InvalidSetting(f"{named}: torch {torch.__version__} sees no such CUDA device here")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InvalidSetting(f"{named}: torch {torch.__version__} sees no Metal device here")


def load_any(models: ModelCache[Any], names: Sequence[str], *, check: Callable[[str], None]) -> None:
    """Load the first of ``names`` that can be loaded, so that one is warm before the first job.

    ``check`` raises `ModelFailed` for what its files say cannot be loaded: those are marked as failed before.
    Raises `ModelFailed` if nothing is left to serve, `DeviceFull` if the device has no memory for any.
    """
    errors: list[SwiftError] = []
    for name in names:
        try:
            check(name)
        except ModelFailed as error:
            models.mark_failed(name, str(error))
    for name in names:
        try:
            with models.use(name):
                return
        except (ModelFailed, DeviceFull) as error:
            errors.append(error)
    raise errors[0]


def worker_name(sender: Any) -> str:
    """The Celery node name, for example ``unet1@host``: the same in Flower and in the fleet view."""
    return str(getattr(sender, "hostname", sender))


def select_controlnets(wanted: Sequence[str], catalog: Catalog, models: Sequence[str]) -> list[str]:
    """The ControlNets that a worker of the base ``models`` may load and serve; raises `InvalidSetting`.

    ``wanted`` is the setting: empty for all of the catalog that fit one of the models, ``none`` for none.
    """
    known = list(catalog.controlnets)
    if NO_CONTROLNETS in wanted:
        if len(wanted) > 1:
            raise InvalidSetting(f"SWIFT_WORKER_CONTROLNETS: {NO_CONTROLNETS} stands alone")
        return []
    selected = select_served("SWIFT_WORKER_CONTROLNETS", wanted, known) if known else []
    return [name for name in selected if set(models).intersection(catalog.controlnets[name].models)]


def select_served(variable: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """The part of the catalog that this worker serves; raises `InvalidSetting`."""
    if NO_CONTROLNETS in wanted and NO_CONTROLNETS not in known:
        raise InvalidSetting(f"{variable}={NO_CONTROLNETS}: this worker would serve nothing")
    if not known:
        raise InvalidSetting(f"{variable}: the catalog names nothing that this worker could serve")
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise InvalidSetting(
            f"{variable}: {', '.join(unknown)} not in the catalog; it has {', '.join(known)}"
        )
    return list(wanted or known)
