"""Creates S3 clients: what the settings leave open comes from boto3's environment, profiles and roles."""

from functools import cache
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import Loader, create_loader

from shared.errors import S3Unavailable
from shared.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: What servers without regions expect.
DEFAULT_REGION = "us-east-1"
#: The end of an endpoint that nobody has configured.
_AWS = ".amazonaws.com"


@cache
def _loader(data_path: str | None) -> Loader:
    """boto3's description of S3's API, 13 MB: read once a process."""
    return create_loader(data_path)


def make_s3_client(settings: Settings, *, attempts: int, read_timeout_s: float) -> "S3Client":
    """A thread-safe client. Raises `S3Unavailable` if there are no credentials now: there may be later.

    Region, credentials, endpoint, certificates, proxies, checksums and addressing style come from boto3's
    configuration chain, unless settings name region or endpoint. Without any endpoint it is the embedded
    server's.
    """
    core = botocore.session.get_session()
    core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
    session = boto3.Session(botocore_session=core)
    if session.get_credentials() is None:
        raise S3Unavailable("S3 credentials are missing: boto3 finds none")
    options = core.get_scoped_config().get("s3")
    style = options.get("addressing_style") if isinstance(options, dict) else None
    config = Config(
        connect_timeout=2,
        read_timeout=read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=64,
        signature_version="s3v4",  # a presigned URL of the older kind also fixes the content type
        s3={"addressing_style": style or "path"},  # servers of one's own seldom have a host for each bucket
    )
    region = settings.s3_region or session.region_name or DEFAULT_REGION
    client: S3Client = session.client(
        "s3", endpoint_url=settings.s3_endpoint_url, region_name=region, config=config
    )
    if settings.s3_endpoint_url is None and client.meta.endpoint_url.endswith(_AWS):
        embedded = f"http://127.0.0.1:{settings.s3_port}"
        client = session.client("s3", endpoint_url=embedded, region_name=region, config=config)
    return client
