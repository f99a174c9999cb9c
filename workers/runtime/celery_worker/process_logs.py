"""Has a Celery worker log through `shared.logs` in place of Celery's own set-up."""

import logging

from celery.signals import setup_logging

from shared.logs import configure_logs
from shared.settings import Settings


def configure_celery_logging(settings: Settings, name: str, level: int = logging.INFO) -> None:
    """Log as the worker ``name``, from ``level`` on."""
    configure_logs(settings, level=level, worker=name)
    setup_logging.connect(_keep)


def _keep(**_: object) -> None:
    """Celery sets up no logs where its signal has a receiver."""
