"""What every worker process does first: threads, logging, its name, what it serves."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from celery.signals import setup_logging
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from shared.errors import InvalidSetting
from shared.logs import configure_logs
from shared.settings import Settings


def prepare_process(settings: Settings, name: str, level: int = logging.INFO) -> None:
    """Set torch's threads, quiet the libraries, and log as the worker ``name`` from ``level`` on."""
    configure_logs(settings, level=level, worker=name)
    setup_logging.connect(_keep_logs)
    torch.set_num_threads(settings.threads_per_worker)
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()


def _keep_logs(**_: object) -> None:
    """Celery sets up no logs where this signal has a receiver."""


@contextmanager
def start_or_exit() -> Iterator[None]:
    """A worker that cannot start ends and says why: Celery would log it away and take jobs."""
    try:
        yield
    except Exception as error:
        print(f"this worker cannot start: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from error


def worker_name(sender: Any) -> str:
    """The Celery node name, for example ``unet1@host``: the same in Flower and in the fleet view."""
    return str(getattr(sender, "hostname", sender))


def choose(variable: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """The part of the catalogue that this worker serves; raises `InvalidSetting`."""
    if not known:
        raise InvalidSetting(f"{variable}: the catalogue names nothing that this worker could serve")
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise InvalidSetting(
            f"{variable}: {', '.join(unknown)} not in the catalogue; it has {', '.join(known)}"
        )
    return list(wanted or known)
