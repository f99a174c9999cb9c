"""``swiftdiffusion webhooks create|ls|rm|secret|rotate|deliveries|replay``: where events of jobs are sent."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import click

from infra.cli.options import api_option, connected
from infra.cli.tables import print_list
from shared.settings import Settings
from shared.webhooks.endpoint import DEFAULT, EVENTS

COLUMNS = ("ID", "URL", "EVENTS", "STATE")
DELIVERY_COLUMNS = ("ID", "STATUS", "ATTEMPTS", "ANSWER", "CREATED", "NEXT ATTEMPT")
#: Deliveries of one list.
NEWEST = 50


@click.group()
def command() -> None:
    """Create, list and delete webhooks, see what became of their deliveries, and send some again."""


@command.command()
@click.argument("url")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(EVENTS),
    help="What is told. Repeatable; else what ends a job.",
)
@click.option("--description", default="", help="For people.")
@api_option
@click.pass_obj
def create(settings: Settings, url: str, events: Sequence[str], description: str, api: str | None) -> None:
    """Have events of all jobs sent to URL; prints the id and the secret, which is shown this once."""
    body: dict[str, Any] = {"url": url, "description": description}
    if events:
        body["events"] = list(dict.fromkeys(events))
    with connected(api, settings) as client:
        made = client.call("POST", "/v1/webhooks", body)
    click.echo(f"{made['id']} {made['secret']}")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@api_option
@click.pass_obj
def ls(settings: Settings, as_json: bool, api: str | None) -> None:
    """List webhooks, oldest first."""
    with connected(api, settings) as client:
        found = client.read("/v1/webhooks")["webhooks"]
    print_list(found, COLUMNS, _row, as_json=as_json)


@command.command()
@click.argument("webhook_ids", nargs=-1, required=True, metavar="ID...")
@api_option
@click.pass_obj
def rm(settings: Settings, webhook_ids: Sequence[str], api: str | None) -> None:
    """Delete webhooks: nothing more is sent to them."""
    with connected(api, settings) as client:
        for webhook_id in webhook_ids:
            client.call("DELETE", _home(webhook_id))
            click.echo(f"{webhook_id} deleted")


@command.command()
@api_option
@click.pass_obj
def secret(settings: Settings, api: str | None) -> None:
    """Print the secret that signs the webhooks of single jobs."""
    with connected(api, settings) as client:
        click.echo(client.read(f"{_home(DEFAULT)}/secret")["secret"])


@command.command()
@click.argument("webhook_id", default=DEFAULT, metavar="[ID]")
@api_option
@click.pass_obj
def rotate(settings: Settings, webhook_id: str, api: str | None) -> None:
    """Replace the secret of a webhook, or else of single jobs, and print it; for a day both sign."""
    with connected(api, settings) as client:
        click.echo(client.call("POST", f"{_home(webhook_id)}/rotate")["secret"])


@command.command()
@click.argument("webhook_id", default=DEFAULT, metavar="[ID]")
@click.option("--job", default="", metavar="JOB", help="Those of one job alone.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with URLs and errors.")
@api_option
@click.pass_obj
def deliveries(settings: Settings, webhook_id: str, job: str, as_json: bool, api: str | None) -> None:
    """List the newest deliveries to a webhook, or else to those of single jobs."""
    with connected(api, settings) as client:
        which = f"job={quote(job, safe='')}" if job else f"limit={NEWEST}"
        found = client.read(f"{_home(webhook_id)}/deliveries?{which}")["deliveries"]
    print_list(found, DELIVERY_COLUMNS, _delivery_row, as_json=as_json)


@command.command()
@click.argument("webhook_id", metavar="ID")
@click.argument("message_ids", nargs=-1, metavar="[DELIVERY]...")
@api_option
@click.pass_obj
def replay(settings: Settings, webhook_id: str, message_ids: Sequence[str], api: str | None) -> None:
    """Send deliveries to the webhook ID again, or else all that failed; `default`: those of single jobs."""
    body = {"deliveries": list(message_ids)} if message_ids else {}
    with connected(api, settings) as client:
        replayed = client.call("POST", f"{_home(webhook_id)}/replay", body)["replayed"]
    click.echo(f"{replayed} are sent again")


def _home(webhook_id: str) -> str:
    return f"/v1/webhooks/{quote(webhook_id, safe='')}"


def _row(webhook: dict[str, Any]) -> tuple[str, ...]:
    state = "enabled" if webhook["enabled"] else f"disabled ({webhook['disabled_reason']})"
    return (webhook["id"], webhook["url"], ",".join(webhook["events"]), state)


def _delivery_row(delivery: dict[str, Any]) -> tuple[str | int, ...]:
    answer = str(delivery["response_status"] or delivery["error"] or "")
    times = [_minute(delivery[name]) for name in ("created_at", "next_attempt_at")]
    return (delivery["id"], delivery["status"], delivery["attempts"], answer, *times)


def _minute(time: str | None) -> str:
    return (time or "")[:16].replace("T", " ")
