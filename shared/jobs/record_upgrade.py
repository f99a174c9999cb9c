"""Records of earlier versions in the present form: an upgrade of the fleet loses no job that waits.

Version 1, of 0.1.0, called a ControlNet's ``control_map`` ``map``, and its receipts were of formats 1 and 2.
"""

from typing import Any

from shared.jobs.legacy_receipt import LegacyReceipt, is_legacy
from shared.message_base import read_stored


def upgrade(record: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record, parsed from JSON, in the form of this version; raises `ValueError`."""
    spec = record.get("spec")
    if str(record.get("version", "1")) == "1" and isinstance(spec, dict):
        record = record | {"spec": _upgrade_spec(spec)}
    receipts = {name: record[name] for name in ("receipt", "replays") if is_legacy(record.get(name))}
    return record | {
        name: read_stored(LegacyReceipt, receipt).upgraded() for name, receipt in receipts.items()
    }


def _upgrade_spec(spec: dict[str, Any]) -> dict[str, Any]:
    controlnets = spec.get("controlnets")
    if not isinstance(controlnets, list):
        return spec
    return spec | {"controlnets": [_upgrade_controlnet(controlnet) for controlnet in controlnets]}


def _upgrade_controlnet(controlnet: Any) -> Any:
    if not isinstance(controlnet, dict) or "map" not in controlnet:
        return controlnet
    return {**controlnet, "control_map": controlnet["map"]}
