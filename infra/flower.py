"""The Celery app that Flower watches: ``celery -A infra.flower flower``.

Flower connects as the fleet does: the broker's TLS options are not among those that its command line takes.
"""

from shared.queues import make_celery
from shared.settings import read_settings
from shared.startup import exit_with_reason

with exit_with_reason():
    app = make_celery(read_settings())
