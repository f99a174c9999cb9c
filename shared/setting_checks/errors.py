"""Why an environment gives no settings: one sentence that names the variable."""

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from shared.errors import InvalidSetting
from shared.setting_checks.types import MAX_BYTES
from shared.validation_messages import explain, nearest, quoted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "SWIFT_"
#: Settings of earlier versions, and what an operator sets instead.
SUCCESSORS = {
    "SWIFT_API_THREADS": "SWIFT_API_CONNECTIONS",  # a connection no longer takes a thread
    "SWIFT_WORKER_NETS": "SWIFT_WORKER_CONTROLNETS",
    "SWIFT_NET_FALLBACK": "SWIFT_WORKER_CONTROLNETS",
    "SWIFT_CONTROLNET_FALLBACK": "SWIFT_WORKER_CONTROLNETS",  # `none` for UNet workers that compute none
    "SWIFT_CONTROLNET_WAIT_S": "SWIFT_WORKER_CONTROLNETS",  # the wait is a measured load's
    "SWIFT_NET_LEASE_S": "SWIFT_CONTROLNET_LEASE_S",
    "SWIFT_NET_BATCH_DELAY": "SWIFT_CONTROLNET_BATCH_DELAY",
    "SWIFT_RESIDUAL_SENDS": "SWIFT_RESIDUAL_ATTEMPTS",
    "SWIFT_RESIDUAL_WAIT_S": "SWIFT_RESIDUAL_TIMEOUT_S",
    "SWIFT_HEAD_WAIT_S": "SWIFT_HEADER_TIMEOUT_S",
    "SWIFT_BODY_WAIT_S": "SWIFT_BODY_TIMEOUT_S",
    "SWIFT_ANSWER_WAIT_S": "SWIFT_RESPONSE_TIMEOUT_S",
}
#: Settings of earlier versions without a successor, and why.
REMOVED = {
    "SWIFT_PREFETCH": "LoRAs are fetched once a worker takes their job",
}
#: Each of these may stand in a file instead, which ``SWIFT_NAME_FILE`` names. A Redis URL may hold a
#: password. Of their values nothing is quoted: of one that is written wrongly any part may be the secret.
SECRETS = ("redis_url", "residual_redis_url", "bootstrap_key", "api_key", "flower_basic_auth")
#: Variables that Kubernetes sets for a Service called swift or swift-…
_SERVICE_LINK = re.compile(r"(_SERVICE_(HOST|PORT(_\w+)?)|_PORT(_[0-9]+_(TCP|UDP)(_\w+)?)?)$")
_AMOUNT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?(?:e[0-9]{1,2})?) *([a-z]{0,3})", re.I)
_UNITS: Mapping[str, Mapping[str, float]] = {
    "bytes": {
        f"{prefix}{unit}": base**power
        for power, prefix in enumerate(("", "k", "m", "g", "t"))
        for unit, base in (("", 1000), ("b", 1000), ("i", 1024), ("ib", 1024))
    },
    "s": {"": 1, "s": 1, "sec": 1, "ms": 0.001, "m": 60, "min": 60, "h": 3600, "d": 86400},
}


def unknown(variable: str, fields: Collection[str]) -> InvalidSetting:
    """No setting has this name; ``fields`` are those of `Settings`."""
    if variable in SUCCESSORS:
        return InvalidSetting(f"{variable} is no setting any more; its successor is {SUCCESSORS[variable]}")
    if variable in REMOVED:
        return InvalidSetting(f"{variable} is no setting any more: {REMOVED[variable]}; remove it")
    near = nearest(variable.upper().removeprefix(PREFIX), fields)
    why = f"; did you mean {PREFIX}{near.upper()}?" if near else "; infra/docs/operations.md lists them"
    if _SERVICE_LINK.search(variable):
        why = "; Kubernetes sets it for a Service of that name, unless a pod has enableServiceLinks: false"
    return InvalidSetting(f"{variable if variable.isprintable() else quoted(variable)} is no setting{why}")


def explained(details: "ErrorDetails", fields: Collection[str]) -> InvalidSetting:
    """What pydantic found."""
    if not details["loc"]:
        return InvalidSetting(str(details.get("ctx", {}).get("error", details["msg"])))
    name, *place = map(str, details["loc"])
    variable, value = PREFIX + name.upper(), str(details["input"])
    if details["type"] == "extra_forbidden":
        return unknown(variable, fields)
    where = f"{variable}, number {int(place[0]) + 1} of the list" if place else variable
    shown = "" if name in SECRETS or "@" in value else f"={quoted(value)}"
    return InvalidSetting(f"{where}{shown}: it {explain(details)}{_hint(name, value)}")


def _hint(name: str, value: str) -> str:
    """What the writer may have meant by a number that is none."""
    if value.startswith("tcp://"):
        return "; Kubernetes sets such values, unless a pod has enableServiceLinks: false"
    if value[:1] in ("'", '"'):
        return "; the quotes are part of the value"
    amount, unit = _AMOUNT.fullmatch(value), name.rpartition("_")[2]
    factor = _UNITS.get(unit, {"": 1}).get(amount[2].lower()) if amount else None
    if amount is None or factor is None or value.isdecimal():
        return ""
    meant = float(amount[1]) * factor
    return f"; write {meant:.0f}" if 1 <= meant <= MAX_BYTES else ""
