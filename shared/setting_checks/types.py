"""Types of settings: what is read from the text of a variable, and within which bounds."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from shared.setting_checks.addresses import (
    check_base_url,
    check_bucket,
    check_host,
    check_host_entry,
    check_region,
    check_s3_url,
    normalise_redis_url,
)
from shared.tenants.api_key import check_api_key

#: Longer times overflow somewhere: in Redis' expiry, in the system's clocks.
MAX_SECONDS = 10 * 365 * 24 * 3600
MAX_BYTES = 1 << 60


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ValueError(f"must name {twice} once")
    return names


def _expand(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("must begin with the home folder of a user that exists") from None


def _device(name: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?|mps", name):
        raise ValueError("must be cpu, cuda, cuda:N or mps")
    return name


def _origin(text: str) -> str:
    if text != "*" and not re.fullmatch(r"https?://[a-z0-9.\[\]:_-]+", text.lower()):
        raise ValueError("must be an origin, for example https://app.example.com, or *")
    return text.lower()


def _login(text: str) -> str:
    user, _, password = text.partition(":")
    if not user or not password:
        raise ValueError("must be USER:PASSWORD")
    return text


def _pair(text: str) -> str:
    name, _, value = text.partition("=")
    if not name.strip() or not value.strip():
        raise ValueError("must be NAME=MODEL")
    return f"{name.strip()}={value.strip()}"


Device = Annotated[str, AfterValidator(_device)]
Devices = Annotated[tuple[Device, ...], BeforeValidator(_split)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_once)]
NamePairs = Annotated[tuple[Annotated[str, AfterValidator(_pair)], ...], BeforeValidator(_split)]
ApiKeyText = Annotated[str, AfterValidator(check_api_key)]
Login = Annotated[str, AfterValidator(_login)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_split)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(check_host_entry)], ...], BeforeValidator(_split)]
RedisUrl = Annotated[str, AfterValidator(normalise_redis_url)]
RedisUrls = Annotated[tuple[RedisUrl, ...], BeforeValidator(_split), Field(min_length=1)]
S3Url = Annotated[str, AfterValidator(check_s3_url)]
BaseUrl = Annotated[str, AfterValidator(check_base_url)]
Region = Annotated[str, AfterValidator(check_region)]
BucketName = Annotated[str, AfterValidator(check_bucket)]
Host = Annotated[str, AfterValidator(check_host)]
LocalPath = Annotated[Path, AfterValidator(_expand)]
Port = Annotated[int, Field(ge=1, le=65535)]
#: Redis counts in whole milliseconds.
Seconds = Annotated[float, Field(ge=0.001, le=MAX_SECONDS, allow_inf_nan=False)]
WholeSeconds = Annotated[int, Field(ge=1, le=MAX_SECONDS)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Processes = Annotated[int, Field(ge=1, le=1024)]
ProcessesOrNone = Annotated[int, Field(ge=0, le=1024)]
Bytes = Annotated[int, Field(ge=1, le=MAX_BYTES)]
