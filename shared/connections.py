"""How processes reach the two Redis servers: deadlines on every wait, patience with a restart."""

from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

#: Retries of one command: with the backoff below, about ten seconds without a server.
RETRIES = 14


def control_redis(settings: Settings) -> "Redis":
    """The control Redis: text in, text out."""
    return _connect(settings.redis_url, decode_responses=True)


def residual_servers(settings: Settings) -> list["Redis"]:
    """Every residual Redis: bytes. The first is home to all but the large residuals."""
    # RESP2: what workers.residuals.resp speaks on these servers' connections.
    return [_connect(url, decode_responses=False, protocol=2) for url in settings.residual_redis_url]


def residual_redis(settings: Settings) -> "Redis":
    """The first residual Redis."""
    return residual_servers(settings)[0]


def make_retry() -> Retry:
    """Patience with a server that restarts."""
    return Retry(ExponentialBackoff(cap=1.0, base=0.02), RETRIES)


def impatient(client: "Redis") -> "Redis":
    """The same server without patience: health checks want the truth now."""
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "retry": Retry(ExponentialBackoff(), 0)}
    options.update(socket_timeout=2, socket_connect_timeout=1)
    return redis.Redis(
        connection_pool=redis.ConnectionPool(connection_class=pool.connection_class, **options)
    )


def _connect(url: str, **options: Any) -> "Redis":
    return redis.Redis.from_url(
        url,
        **options,
        socket_timeout=30,  # longer than any blocking read asks for
        socket_connect_timeout=2,
        socket_keepalive=True,
        health_check_interval=15,
        retry=make_retry(),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError],
    )
