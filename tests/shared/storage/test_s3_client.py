"""What settings do not say comes from boto3's configuration chain."""

from pathlib import Path

import pytest
from types_boto3_s3 import S3Client

from shared.errors import S3Unavailable
from shared.settings import Settings, read_settings
from shared.storage.object_store import Bucket
from shared.storage.s3_client import make_s3_client


def client(**given: object) -> S3Client:
    return make_s3_client(Settings.model_validate(given), attempts=1, read_timeout_s=1)


@pytest.fixture(autouse=True)
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An AWS configuration file of this test's own, with credentials and nothing else."""
    config = tmp_path / "config"
    config.write_text("[default]\naws_access_key_id = from-file\naws_secret_access_key = secret\n")
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return config


def append(config: Path, lines: str) -> None:
    config.write_text(config.read_text() + lines)


def test_a_server_without_regions_gets_the_usual_one() -> None:
    assert client().meta.region_name == "us-east-1"


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION", "SWIFT_S3_REGION"])
def test_the_region_of_the_environment_is_signed_for(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "eu-central-1")
    made = make_s3_client(read_settings(), attempts=1, read_timeout_s=1)
    assert made.meta.region_name == "eu-central-1"
    url = made.generate_presigned_url("get_object", Params={"Bucket": "loras", "Key": "x"})
    assert "%2Feu-central-1%2Fs3%2F" in url


def test_an_empty_setting_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("SWIFT_S3_REGION", "")
    assert read_settings().s3_region == "eu-central-1"


def test_a_setting_outranks_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("SWIFT_S3_REGION", "ap-south-1")
    assert read_settings().s3_region == "ap-south-1"


def test_a_profile_names_region_endpoint_checksums_and_addressing(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(
        chain,
        "[profile store]\naws_access_key_id = a\naws_secret_access_key = b\nregion = eu-west-3\n"
        "endpoint_url = http://store.example:9000\nrequest_checksum_calculation = when_required\n"
        "s3 =\n  addressing_style = virtual\n",
    )
    monkeypatch.setenv("AWS_PROFILE", "store")
    made = client()
    assert (made.meta.region_name, made.meta.endpoint_url) == ("eu-west-3", "http://store.example:9000")
    assert made.meta.config.request_checksum_calculation == "when_required"
    assert made.meta.config.s3["addressing_style"] == "virtual"


def test_without_any_endpoint_it_is_the_embedded_server_and_a_setting_goes_first(
    chain: Path,
) -> None:
    assert client(s3_port=8444).meta.endpoint_url == "http://127.0.0.1:8444"
    append(chain, "endpoint_url = http://store.example:9000\n")
    assert client(s3_port=8444).meta.endpoint_url == "http://store.example:9000"
    assert client(s3_endpoint_url="http://other:1").meta.endpoint_url == "http://other:1"


def test_credentials_that_are_missing_for_a_moment_are_503_and_come_back(chain: Path) -> None:
    whole = chain.read_text()
    chain.write_text("[default]\n")
    bucket = Bucket(Settings(), "loras")
    for call in (
        lambda: bucket.head("x"),
        lambda: bucket.get("x"),
        lambda: bucket.delete("x"),
        lambda: list(bucket.list()),
        bucket.ready,
        lambda: bucket.put("x", b"", content_type="text/plain"),
    ):
        with pytest.raises(S3Unavailable, match="S3 credentials are missing"):
            call()
    chain.write_text(whole)
    assert bucket.client.meta.region_name == "us-east-1"


TOKEN = "[default]\nrole_arn = arn:aws:iam::1:role/x\nweb_identity_token_file = /does-not-exist\n"


@pytest.mark.parametrize(
    "lines",
    [
        "[default]\naws_access_key_id = only-one\n",
        "[default\n",
        "[default]\ncredential_process = false\n",
        "[default]\ncredential_process = /does-not-exist\n",
        "[default]\ncredential_process = echo no-json\n",
        TOKEN,
        "[default]\naws_access_key_id = a\naws_secret_access_key = b\nendpoint_url = localhost:8333\n",
    ],
)
def test_a_broken_configuration_is_503_as_well(lines: str, chain: Path) -> None:
    chain.write_text(lines)
    with pytest.raises(S3Unavailable, match="S3 cannot be reached with boto3's configuration"):
        Bucket(Settings(), "loras").head("x")
