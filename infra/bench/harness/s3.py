"""An S3 server of a benchmark's own, which several fleets use in turn."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.bench.harness.ports import free_s3_port
from infra.bench.harness.report import CheckFailed
from infra.local.environment import inherit, make_credentials
from infra.local.s3_client import make_s3_client
from infra.local.servers import running_process, weed_command, weed_environment

BUCKETS = ("loras", "images")
READY_S = 60.0


@dataclass(frozen=True)
class Storage:
    """A running server, the credentials as variables, and a client that has them."""

    port: int
    environment: Mapping[str, str]
    client: Any

    def put_lora(self, path: Path) -> None:
        """Upload a LoRA file under its name."""
        self.client.upload_file(str(path), BUCKETS[0], path.name)

    def image(self, key: str) -> bytes:
        """A stored PNG."""
        body: bytes = self.client.get_object(Bucket=BUCKETS[1], Key=key)["Body"].read()
        return body


@contextmanager
def running_s3(home: Path) -> Iterator[Storage]:
    """A SeaweedFS with both buckets; its data is under ``home``, where it finds an earlier one's."""
    (home / "data").mkdir(parents=True, exist_ok=True)
    credentials, port = make_credentials({}), free_s3_port()
    keys = (credentials["AWS_ACCESS_KEY_ID"], credentials["AWS_SECRET_ACCESS_KEY"])
    client = make_s3_client({"SWIFT_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}", **credentials})
    command = weed_command(port, home / "data", BUCKETS)
    env = inherit(weed_environment(*keys))
    with running_process(command, cwd=home, env=env, log=home / "weed.out"):
        _wait(client)
        yield Storage(port, credentials, client)


def _wait(client: Any) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            for bucket in BUCKETS:
                client.put_object(Bucket=bucket, Key=".ready", Body=b"")
                client.delete_object(Bucket=bucket, Key=".ready")
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise CheckFailed("S3 does not answer") from None
            time.sleep(0.1)
        else:
            return
