"""Which errors end an attempt and not its job. Apart: a process that loads no models decides by it, too."""

from redis.exceptions import RedisError

from shared.errors import SwiftError


def is_retryable(error: Exception) -> bool:
    """Whether another attempt at the job may succeed: our errors say it, and servers come back."""
    return isinstance(error, RedisError) or (isinstance(error, SwiftError) and error.retryable)
