from pathlib import Path

import pytest

from shared.errors import InvalidSetting
from shared.setting_checks.errors import PREFIX, REMOVED, SUCCESSORS
from shared.settings import Settings, read_settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings({}) == Settings()


def test_variables_are_read_by_name_and_others_are_left_alone() -> None:
    settings = read_settings(
        {"SWIFT_API_PORT": "9000", "SWIFT_WORKER_CONTROLNETS": "edge, depth", "PATH": "/bin"}
    )
    assert settings.api_port == 9000
    assert settings.worker_controlnets == ("edge", "depth")


def test_a_list_of_devices_may_name_one_twice_and_agree_with_the_number_of_workers() -> None:
    named = {"SWIFT_UNET_DEVICES": "cuda:0, cuda:0", "SWIFT_UNET_WORKERS": "2"}
    assert read_settings(named).unet_devices == ("cuda:0", "cuda:0")
    assert read_settings({"SWIFT_CONTROLNET_WORKERS": "0"}).controlnet_workers == 0


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert read_settings({"SWIFT_S3_ENDPOINT_URL": ""}).s3_endpoint_url is None


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"SWIFT_API_PORT": "eighty"}, "SWIFT_API_PORT='eighty': it must be a whole number"),
        ({"SWIFT_API_PORT": "70000"}, "SWIFT_API_PORT='70000': it must be at most 65535"),
        ({"SWIFT_API_PORT": "٨٠٨٠"}, "it must be a whole number"),
        ({"SWIFT_API_PORT": "9" * 5000}, "9…: it must be a whole number that is not so large"),
        ({"SWIFT_API_PORT": '"8080"'}, "it must be a whole number; the quotes are part of the value"),
        ({"SWIFT_REDIS_PORT": "tcp://10.0.0.1:6379"}, "whole number; Kubernetes sets such values"),
        ({"SWIFT_MAX_STEPS": "1e3"}, "it must be a whole number; write 1000"),
        ({"SWIFT_LORA_CACHE_BYTES": "10GB"}, "it must be a whole number; write 10000000000"),
        ({"SWIFT_LORA_CACHE_BYTES": "1.5 gib"}, "it must be a whole number; write 1610612736"),
        ({"SWIFT_LORA_CACHE_BYTES": "1e99"}, "it must be"),
        ({"SWIFT_LORA_CACHE_BYTES": str(1 << 63)}, "it must be at most"),
        ({"SWIFT_LORA_CACHE_BYTES": "-1"}, "it must be at least 1"),
        ({"SWIFT_JOB_TIMEOUT_S": "10m"}, "it must be a number; write 600"),
        ({"SWIFT_LEASE_S": "nan"}, "it must be a finite number"),
        ({"SWIFT_LEASE_S": "inf"}, "it must be a finite number"),
        ({"SWIFT_LEASE_S": "1e300"}, "it must be at most"),
        ({"SWIFT_HEARTBEAT_S": "0.0001"}, "it must be at least 0.001"),
        ({"SWIFT_JOB_TTL_S": str(1 << 62)}, "it must be at most"),
        ({"SWIFT_CONTROLNET_BATCH_DELAY": "inf"}, "it must be a finite number"),
        ({"SWIFT_THREADS_PER_WORKER": "100000"}, "it must be at most 1024"),
        ({"SWIFT_PLACEMENT": "maybe"}, "SWIFT_PLACEMENT='maybe': it must be true or false"),
        ({"SWIFT_LOCAL_CONTROLNETS": "atuo"}, "it must be 'auto' or 'unserved'; did you mean auto?"),
        (
            {"SWIFT_UNET_DEVICES": "cuda:0,gpu"},
            "SWIFT_UNET_DEVICES, number 2 of the list='gpu': it must be cpu",
        ),
        (
            {"SWIFT_UNET_DEVICES": "cuda:0,cuda:1", "SWIFT_UNET_WORKERS": "3"},
            "SWIFT_UNET_WORKERS=3 contradicts SWIFT_UNET_DEVICES, which names 2: set one of them",
        ),
        (
            {"SWIFT_CONTROLNET_DEVICES": "cuda:0", "SWIFT_CONTROLNET_WORKERS": "0"},
            "SWIFT_CONTROLNET_WORKERS=0 contradicts SWIFT_CONTROLNET_DEVICES, which names 1",
        ),
        ({"SWIFT_DEVICE": "gpu"}, "it must be cpu, cuda, cuda:N or mps"),
        ({"SWIFT_WORKER_CONTROLNETS": "edge, depth,edge"}, "it must name edge once"),
        ({"SWIFT_HOME": "~nobody-of-that-name/run"}, "the home folder of a user that exists"),
        ({"SWIFT_HOME": "run\x1b[2J"}, "SWIFT_HOME holds characters that cannot be printed"),
        ({"SWIFT_HOME": "x" * 5000}, "File name too long"),
        ({"SWIFT_HOME": "README.md/run"}, "README.md is a file, not a folder"),
        ({"SWIFT_API_HOST": "http://0.0.0.0"}, "it must be a host name or an IP address alone"),
        ({"SWIFT_API_HOST": "0.0.0.0:8080"}, "it must be a host name or an IP address alone"),
        ({"SWIFT_API_HOST": "[::1]"}, "it must be a host name or an IP address alone"),
        ({"SWIFT_API_HOST": "my host"}, "it must name a host by letters, digits"),
        ({"SWIFT_API_HOST": "256.1.1.1"}, "it must be an IP address, if it is written in numbers"),
        ({"SWIFT_AUTH": "on"}, "it must be 'off' or 'keys'"),
        ({"SWIFT_BOOTSTRAP_KEY": "hunter2"}, "SWIFT_BOOTSTRAP_KEY: it is not of the form swk_ID_SECRET"),
        ({"SWIFT_API_KEY": "hunter2"}, "SWIFT_API_KEY: it is not of the form swk_ID_SECRET"),
        ({"SWIFT_FLOWER_BASIC_AUTH": "hunter2"}, "SWIFT_FLOWER_BASIC_AUTH: it must be USER:PASSWORD"),
        ({"SWIFT_CORS_ORIGINS": "app.example.com"}, "must be an origin, for example https://app.example.com"),
        ({"SWIFT_CORS_ORIGINS": "https://a.example/"}, "must be an origin"),
        ({"SWIFT_CORS_ORIGINS": "*"}, "SWIFT_CORS_ORIGINS=* without SWIFT_AUTH=keys would open the API"),
        ({"SWIFT_API_KEY_FILE": "nowhere/key"}, "SWIFT_API_KEY_FILE='nowhere/key': No such file"),
        ({"SWIFT_LORA_BUCKET": "Loras"}, "it must be a bucket name"),
        ({"SWIFT_RESIDUAL_REDIS_URL": ","}, "SWIFT_RESIDUAL_REDIS_URL: it must have at least one value"),
        ({"SWIFT_LORA_BUCKET": "my_loras"}, "it must be a bucket name"),
        ({"SWIFT_LORA_BUCKET": "10.0.0.1"}, "it must be a bucket name"),
        ({"SWIFT_LORA_BUCKET": "a..b"}, "it must be a bucket name"),
        ({"SWIFT_LORA_BUCKET": "xn--loras"}, "it must be a bucket name"),
        ({"SWIFT_IMAGE_BUCKET": "a" * 64}, "it must be a bucket name"),
        ({"SWIFT_IMAGE_BUCKET": "loras"}, "SWIFT_LORA_BUCKET and SWIFT_IMAGE_BUCKET must name two buckets"),
        ({"SWIFT_S3_ENDPOINT_URL": "localhost:9000"}, "it must be http://HOST:PORT or https://HOST:PORT"),
        ({"SWIFT_S3_ENDPOINT_URL": "s3://loras"}, "it must be http://HOST:PORT or https://HOST:PORT"),
        ({"SWIFT_S3_ENDPOINT_URL": "http://h:0"}, "it must have a port from 1 to 65535"),
        ({"SWIFT_S3_ENDPOINT_URL": "http://h:9000/loras"}, "it must end with host and port"),
        ({"SWIFT_S3_PUBLIC_URL": "https://h?x=1"}, "it must end with host and port"),
        ({"SWIFT_S3_ENDPOINT_URL": "https://loras.s3.amazonaws.com"}, "must not begin with bucket loras"),
        ({"SWIFT_REDIS_CA_FILE": "ca.pem"}, "SWIFT_REDIS_CA_FILE is set, and no Redis URL begins with"),
        ({"SWIFT_REDIS_KEY_FILE": "key.pem"}, "SWIFT_REDIS_KEY_FILE is set without SWIFT_REDIS_CERT_FILE"),
        (
            {"SWIFT_REDIS_URL": "rediss://a/0", "SWIFT_REDIS_CA_FILE": "nowhere.pem"},
            "SWIFT_REDIS_CA_FILE='nowhere.pem': No such file or directory",
        ),
        (
            {"SWIFT_REDIS_URL": "rediss://a/0", "SWIFT_REDIS_CA_FILE": "README.md"},
            "SWIFT_REDIS_CA_FILE='README.md': it holds no certificate in PEM",
        ),
        ({"AWS_REGION": "EU West"}, "AWS_REGION='EU West': it must be the name of a region"),
        ({"AWS_DEFAULT_REGION": " "}, "AWS_DEFAULT_REGION=' ': it must be the name of a region"),
        ({"SWIFT_S3_REGION": "EU-WEST-1"}, "SWIFT_S3_REGION='EU-WEST-1': it must be the name of a region"),
        ({"AWS_ENDPOINT_URL": "localhost:8333"}, "AWS_ENDPOINT_URL='localhost:8333': it must be http://HOST"),
        ({"AWS_ENDPOINT_URL_S3": "http://u:p@h"}, "AWS_ENDPOINT_URL_S3: it must hold no credentials"),
        ({"AWS_ACCESS_KEY_ID": "key"}, "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": "key"}, "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID"),
        ({"SWIFT_API_PROT": "8080"}, "SWIFT_API_PROT is no setting; did you mean SWIFT_API_PORT?"),
        ({"SWIFT_api_port": "8080"}, "SWIFT_api_port is no setting; did you mean SWIFT_API_PORT?"),
        ({"swift_api_port": "8080"}, "swift_api_port is no setting; did you mean SWIFT_API_PORT?"),
        ({"SWIFT_WONDERLAND": "1"}, "SWIFT_WONDERLAND is no setting; infra/docs/operations.md lists them"),
        ({"SWIFT_PORT_80_TCP": "tcp://10.0.0.1:80"}, "is no setting; Kubernetes sets it"),
    ],
)
def test_what_cannot_be_stops_the_start_in_one_sentence(variables: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        read_settings(variables)
    said = str(caught.value)
    assert sentence in said
    assert next(iter(variables)).partition("_")[0] in said
    assert len(said) < 300
    assert said.isprintable()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:6379/0", "it must begin with its scheme: redis://HOST:PORT/DB"),
        ("localhost", "it must begin with its scheme"),
        ("http://127.0.0.1:6379/0", "it must be a Redis URL: redis://HOST:PORT/DB"),
        ("redis-sentinel://a/0", "it must be a Redis URL"),
        ("redis:///0", "it must name a host"),
        ("redis://:hunter2@/0", "it must name a host"),
        ("redis://a:0/0", "it must have a port from 1 to 65535"),
        ("redis://a:99999/0", "it must have a port"),
        ("redis://a:x/0", "it must have a port"),
        ("redis://a:1:2/0", "it must have a port"),
        ("redis://a/x", "it must end with the number of a database"),
        ("redis://a/0/1", "it must end with the number of a database"),
        ("redis://a/-1", "it must end with the number of a database"),
        ("redis://a/0?db=1", "it must name its database once"),
        ("redis://a b/0", "it must name a host by letters"),
        ("redis://[::1/0", "it must be a Redis URL"),
        ("redis://:hunter2[@[::1]/0", "it must be a Redis URL"),
        ("redis://:hun/ter2@a/0", "in a password write %2F for /"),
        ("redis://:hun?ter2@a/0", "in a password write"),
        ("redis://:hun#ter2@a/0", "in a password write"),
        ("redis://hunter2@a/0", "a password alone is redis://:PASSWORD@HOST"),
        ("redis://a/0?timeout=hunter2", "it may say after its ? only db, ssl_cert_reqs"),
        ("redis://a/0?ssl_cert_reqs=none", "it must begin with rediss://"),
        ("rediss://a/0?ssl_cert_reqs=CERT_SOME", "ssl_cert_reqs=none, optional, required"),
        ("rediss://a/0?ssl_check_hostname=hunter2", "ssl_check_hostname=true or false"),
        ("rediss://a/0?ssl_ca_certs=", "each of its TLS options a value"),
        ("unix://run/redis.sock", "it must name a socket by its whole path"),
        ("unix://", "it must name a socket by its whole path"),
    ],
)
@pytest.mark.parametrize("is_residual", [False, True])
def test_what_is_no_redis_url_is_said_and_never_quoted(url: str, why: str, is_residual: bool) -> None:
    name = "SWIFT_RESIDUAL_REDIS_URL" if is_residual else "SWIFT_REDIS_URL"
    with pytest.raises(InvalidSetting) as caught:
        read_settings({name: f"redis://fine/0, {url}" if is_residual else url})
    said = str(caught.value)
    assert said.startswith(f"{name}, number 2 of the list: it " if is_residual else f"{name}: it ")
    assert why.removeprefix("it ") in said
    assert not any(part in said for part in ("hunter2", "hun", "ter2"))


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("API_PORT", " 8080\n", 8080),
        ("PLACEMENT", "off", False),
        ("ACCESS_LOG", "Yes", True),
        ("WORKER_MODELS", " a, ,b,", ("a", "b")),
        ("S3_ENDPOINT_URL", "https://s3.example.com/", "https://s3.example.com"),
        ("API_HOST", "::1", "::1"),
        ("HOME", "~/run", Path.home() / "run"),
        ("LORA_BUCKET", "my.loras-2", "my.loras-2"),
        ("REDIS_URL", "redis://:p%2Fw@a:6379/3", "redis://:p%2Fw@a:6379/3"),
        ("REDIS_URL", "rediss://a?ssl_cert_reqs=CERT_NONE", "rediss://a?ssl_cert_reqs=none"),
        ("REDIS_URL", "unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
    ],
)
def test_values_are_read_as_they_are_meant(name: str, value: str, read: object) -> None:
    assert getattr(read_settings({PREFIX + name: value}), name.lower()) == read


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://localhost:6400/0", "redis://127.0.0.1:6400/1"),
        ("redis://LOCALHOST.:6400", "rediss://[::1]:6400/0"),
        ("redis://127.1:6400/0", "redis://0.0.0.0:6400/0"),
        ("redis://[::ffff:127.0.0.1]:6400/0", "redis://:pw@ip6-localhost:6400/0"),
        ("redis://cache.example.com", "redis://Cache.Example.com.:6379/5"),
        ("unix:///run/../run/redis.sock", "unix:///run/redis.sock?db=1"),
    ],
)
def test_one_server_in_two_spellings_is_one_server(one: str, other: str) -> None:
    with pytest.raises(InvalidSetting, match="must name other servers than SWIFT_REDIS_URL"):
        read_settings({"SWIFT_REDIS_URL": one, "SWIFT_RESIDUAL_REDIS_URL": f"redis://fine, {other}"})
    with pytest.raises(InvalidSetting, match="names a server twice"):
        read_settings({"SWIFT_RESIDUAL_REDIS_URL": f"{one}, {other}"})


def test_an_ipv6_address_stands_in_brackets_in_urls() -> None:
    assert read_settings({"SWIFT_API_HOST": "::1", "SWIFT_API_PORT": "81"}).api_url == "http://[::1]:81"


@pytest.mark.parametrize(("name", "successor"), SUCCESSORS.items())
def test_a_setting_of_an_earlier_version_names_its_successor(name: str, successor: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{name} is no setting any more; its successor is {successor}$"):
        read_settings({name: "1"})
    assert successor.removeprefix(PREFIX).lower() in Settings.model_fields


@pytest.mark.parametrize("name", REMOVED)
def test_a_setting_without_a_successor_stops_the_start_and_says_what_to_do(name: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{name} is no setting any more: .+; remove it$"):
        read_settings({name: "false"})
    assert name.removeprefix(PREFIX).lower() not in Settings.model_fields


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SWIFT_API_CONNECTIONS": "400"}, "SWIFT_API_EVENT_STREAMS"),
        ({"SWIFT_RESIDUAL_TIMEOUT_S": "500"}, "SWIFT_RESIDUAL_TTL_S"),
        ({"SWIFT_RESIDUAL_REDIS_URL": f"redis://a/0,{Settings().redis_url}"}, "SWIFT_REDIS_URL"),
        ({"SWIFT_RESIDUAL_REDIS_URL": "redis://a/0, redis://a/0"}, "names a server twice"),
        ({"SWIFT_MAX_LORA_BYTES": str((5 << 30) + 1)}, "SWIFT_MAX_LORA_BYTES may be at most 5368709120: S3"),
    ],
)
def test_settings_that_contradict_each_other_stop_the_start(changes: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSetting, match=named):
        read_settings(changes)
