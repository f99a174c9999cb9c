"""``AWS_*`` variables, checked at the start: boto3 would fail at its first call."""

from collections.abc import Callable, Mapping

from shared.errors import InvalidSetting
from shared.setting_checks.addresses import check_endpoint, check_region
from shared.validation_messages import quoted

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_CHECKS: Mapping[str, Callable[[str], str]] = {
    "AWS_REGION": check_region,
    "AWS_DEFAULT_REGION": check_region,
    "AWS_ENDPOINT_URL": check_endpoint,
    "AWS_ENDPOINT_URL_S3": check_endpoint,
}


def check_aws(environ: Mapping[str, str]) -> None:
    """Raises `InvalidSetting` for what boto3 could not use."""
    for name, check in _CHECKS.items():
        value = environ.get(name)
        if value:
            try:
                check(value)
            except ValueError as error:
                shown = "" if "@" in value else f"={quoted(value)}"
                raise InvalidSetting(f"{name}{shown}: it {error}") from None
    for one, other in (_KEYS, _KEYS[::-1]):
        if environ.get(one) and not environ.get(other):
            raise InvalidSetting(f"{one} is set without {other}")
