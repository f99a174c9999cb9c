"""``swiftdiffusion usage``: what a tenant, or for an admin every tenant, has used on each day."""

from typing import Any
from urllib.parse import urlencode

import click

from infra.cli.options import api_option, connected
from infra.cli.tables import print_list
from shared.settings import Settings

COLUMNS = ("DAY", "TENANT", "JOBS", "IMAGES", "DEVICE SECONDS", "IMAGE BYTES")


@click.command()
@click.option("--since", metavar="YYYY-MM-DD", help="First day, in UTC. Default: 30 days.")
@click.option("--until", metavar="YYYY-MM-DD", help="Last day. Default: today.")
@click.option("--tenant", metavar="TENANT", help="One tenant alone; admins see all.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@api_option
@click.pass_obj
def command(settings: Settings, /, as_json: bool, api: str | None, **query: str | None) -> None:
    """Show what was used on each day: jobs, images, seconds of devices, bytes of images."""
    given = urlencode({name: value for name, value in query.items() if value})
    with connected(api, settings) as client:
        found: list[dict[str, Any]] = client.read(f"/v1/usage?{given}" if given else "/v1/usage")["usage"]
    print_list(found, COLUMNS, _row, as_json=as_json)


def _row(used: dict[str, Any]) -> tuple[str | int, ...]:
    counts = (used["jobs"], used["images"], round(used["device_seconds"]), used["image_bytes"])
    return (used["day"], used["tenant"], *counts)
