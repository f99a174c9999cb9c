"""boto3's errors as the errors of this program."""

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
)

from shared.errors import NotFound, S3Unavailable, SwiftError

#: Errors of a request on its way.
_CONNECTION_ERRORS = (
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    FlexibleChecksumError,
    Boto3Error,
)
#: Errors of boto3's configuration, and of the files and programs that it gets credentials from.
_CONFIGURATION_ERRORS = (BotoCoreError, OSError, ValueError)


class ObjectChanged(SwiftError):
    """The object is no longer the version that was asked for."""

    code = "object_changed"
    status = 409


class translate_errors:
    """``with translate_errors(key):`` turns boto3's errors into ours, which name ``key``."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ClientError):
            code = error.response["Error"]["Code"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code in ("404", "NoSuchKey", "NotFound") or status == 404:
                raise NotFound(f"there is no object {self.key!r}") from error
            if code in ("412", "PreconditionFailed") or status == 412:
                raise ObjectChanged(f"object {self.key!r} was replaced") from error
            raise S3Unavailable(f"S3 refused {self.key!r}: {code}") from error
        if isinstance(error, NoCredentialsError):
            raise S3Unavailable("S3 credentials are missing: boto3 finds none") from error
        if isinstance(error, _CONNECTION_ERRORS):
            raise S3Unavailable(f"S3 does not answer: {type(error).__name__}") from error
        if isinstance(error, _CONFIGURATION_ERRORS):
            why = "S3 cannot be reached with boto3's configuration and credentials"
            raise S3Unavailable(f"{why}: {type(error).__name__}") from error
