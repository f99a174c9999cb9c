"""Clients of the two Redis roles, with a deadline on every wait and retries while a server restarts."""

import ssl
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from shared.setting_checks.addresses import CERT_REQS, parse_redis_url
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

#: Retries of one command, and the pauses before them: doubled from the first to the longest. Their sum, about
#: ten seconds, is how long a command waits for a server at least.
RETRIES, FIRST_PAUSE_S, LONGEST_PAUSE_S = 14, 0.02, 1.0
#: How long a health check waits for a reply.
CHECK_S = 2.0
#: A busy server may take longer for a reply than a part of a very short lease.
LEAST_RENEWAL_S = 0.25


def control_redis(settings: Settings, *, max_connections: int | None = None) -> "Redis":
    """A client of the control Redis that decodes replies to text.

    ``max_connections`` is redis-py's default, 100, if ``None``. Bytes that are not UTF-8 are replaced.
    """
    return _connect(
        settings.redis_url,
        settings,
        decode_responses=True,
        encoding_errors="replace",
        max_connections=max_connections,
    )


def residual_servers(settings: Settings) -> list["Redis"]:
    """Clients of all residual servers, without decoding. The first holds everything but large residuals."""
    # RESP2, because workers.transport.redis_client.resp speaks it on connections to these servers.
    return [
        _connect(url, settings, decode_responses=False, protocol=2) for url in settings.residual_redis_url
    ]


def make_retry() -> Retry:
    """Retries while a server restarts."""
    return Retry(ExponentialBackoff(cap=LONGEST_PAUSE_S, base=FIRST_PAUSE_S), RETRIES)


def without_retries(client: "Redis", *, timeout_s: float = CHECK_S) -> "Redis":
    """A client of the same server that fails at once: health checks need the current state."""
    timeouts = {"socket_timeout": timeout_s, "socket_connect_timeout": min(timeout_s, 1)}
    return _with_options(client, retry=Retry(ExponentialBackoff(), 0), **timeouts)


def with_timeout(client: "Redis", timeout_s: float) -> "Redis":
    """A client of the same server that gives up a silent connection sooner, and retries as often."""
    return _with_options(client, socket_timeout=timeout_s)


def renewal_client(client: "Redis", lifetime_s: float) -> "Redis":
    """A client of the same server for what expires ``lifetime_s`` after it was renewed: leases, heartbeats.

    A connection may be dead without being closed: its host was replaced, or a NAT has forgotten it. It is
    given up after a quarter of that time, so that the next renewal, over another one, is not too late.
    """
    return without_retries(client, timeout_s=max(lifetime_s / 4, LEAST_RENEWAL_S))


def tls_options(url: str, settings: Settings) -> dict[str, Any]:
    """TLS options for a Redis server, as redis-py and Celery's ``broker_use_ssl`` take them.

    Empty for a server without TLS. The server's certificate and name are checked unless the URL says
    otherwise; ``ssl_*`` in the URL take precedence over the settings.
    """
    address = parse_redis_url(url)
    if address.scheme != "rediss":
        return {}
    files = {
        "ssl_ca_certs": settings.redis_ca_file,
        "ssl_certfile": settings.redis_cert_file,
        "ssl_keyfile": settings.redis_key_file or settings.redis_cert_file,
    }
    given = {name: str(path) for name, path in files.items() if path is not None} | dict(address.tls)
    reqs = CERT_REQS[given.pop("ssl_cert_reqs")]
    checks_name = given.pop("ssl_check_hostname", "true").lower() == "true"
    return {**given, "ssl_cert_reqs": reqs, "ssl_check_hostname": checks_name and reqs != ssl.CERT_NONE}


def _with_options(client: "Redis", **options: Any) -> "Redis":
    pool = client.connection_pool
    options = {**pool.connection_kwargs, **options}
    return redis.Redis(
        connection_pool=redis.ConnectionPool(connection_class=pool.connection_class, **options)
    )


def _connect(url: str, settings: Settings, **options: Any) -> "Redis":
    address = parse_redis_url(url)
    if address.host:  # a Unix socket has no such option
        options["socket_keepalive"] = True
    return redis.Redis.from_url(
        address.url,  # without its options: they would override these
        **tls_options(url, settings),
        **options,
        socket_timeout=30,  # longer than any blocking read
        socket_connect_timeout=2,
        health_check_interval=15,
        retry=make_retry(),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError],
    )
