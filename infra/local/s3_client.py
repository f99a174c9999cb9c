"""A boto3 client of a stack's S3 server, as any client outside the fleet would make it."""

from collections.abc import Mapping
from typing import Any

import boto3


def make_s3_client(env: Mapping[str, str]) -> Any:
    """A client for the variables of a stack; boto3 finds credentials that ``env`` lacks."""
    return boto3.client(
        "s3",
        endpoint_url=env["SWIFT_S3_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=env.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=env.get("AWS_SECRET_ACCESS_KEY"),
    )
