"""Queue and task names, and the Celery app: the contract between the web and the workers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from celery import Celery
from kombu import Exchange, Queue

from shared.redis_clients import tls_options
from shared.setting_checks.addresses import parse_redis_url
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

#: Runs one job: `shared.messaging.messages.GenerateJob`.
GENERATE = "unet.generate"
#: Computes one CFG branch of another worker's job: `workers.unet.cfg_parallel.messages.FollowBranch`.
FOLLOW = "unet.follow"
#: Encodes the prompt of another worker's job: `workers.unet.embeddings.messages.EncodePrompt`.
ENCODE = "unet.encode"
#: Makes a worker that serves ControlNets ready for a job: `shared.messaging.messages.AttachControlNet`.
ATTACH = "controlnet.attach"


def unet_queue(model: str) -> str:
    """Where the jobs of one base model wait."""
    return f"unet.{model}"


def follow_queue(model: str) -> str:
    """Where jobs of one base model ask for a follower, a second worker."""
    return f"follow.{model}"


def encode_queue(model: str) -> str:
    """Where workers without the text encoders of one base model ask for embeddings."""
    return f"encode.{model}"


def worker_queue(model: str, worker: str) -> str:
    """Where jobs of one base model wait that are reserved for one worker: `shared.registry.availability`."""
    return f"{unet_queue(model)}@{worker}"


def default_exchange_queue(name: str) -> Queue:
    """A queue without an exchange of its own: kombu stores no binding for it in Redis."""
    return Queue(name, Exchange(""), routing_key=name)


def controlnet_queue(controlnet: str) -> str:
    """Where the attachments of one ControlNet wait."""
    return f"controlnet.{controlnet}"


def attach_queue(worker: str) -> str:
    """Where the attachments of one UNet worker wait, which serves ControlNets while it has no job."""
    return f"attach@{worker}"


def remove_message(redis: "Redis", queue: str, task_id: str) -> bool:
    """Take the message of a task out of a queue; returns whether it was there."""
    texts: list[str] = redis.lrange(queue, 0, -1)  # type: ignore[assignment]
    return any(f'"{task_id}"' in text and bool(redis.lrem(queue, 1, text)) for text in texts)


def make_celery(settings: Settings, queues: Sequence[str] = ()) -> Celery:
    """Build the app. The web passes no queues: it only sends names."""
    app = Celery("swift", broker=parse_redis_url(settings.redis_url).broker_url)
    app.conf.update(
        broker_use_ssl=tls_options(settings.redis_url, settings) or False,
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in queues],
        task_create_missing_queues=True,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,  # results live in the job store
        task_acks_late=True,  # a killed worker gives its job back
        task_reject_on_worker_lost=True,
        worker_pool="threads",  # CUDA does not survive a fork
        worker_prefetch_multiplier=1,  # a device runs one job; prefetched ones would wait behind it
        worker_disable_prefetch=True,
        worker_send_task_events=True,  # Flower shows what runs
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a restarting Redis is waited for
        broker_transport_options={
            # A job that outlives this would be run twice; our own lease finds dead workers sooner.
            "visibility_timeout": int(settings.job_timeout_s * settings.max_attempts * 2) + 3600,
            "unacked_restore_throttle": 1,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 15,
        },
    )
    return app
