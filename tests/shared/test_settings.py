from pathlib import Path

import pytest

from shared.errors import InvalidSetting
from shared.settings import PREFIX, Settings, read_settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings({}) == Settings()


def test_variables_are_read_by_name_and_others_are_left_alone() -> None:
    settings = read_settings({"SWIFT_API_PORT": "9000", "SWIFT_WORKER_NETS": "edge, depth", "PATH": "/bin"})
    assert settings.api_port == 9000
    assert settings.worker_nets == ("edge", "depth")


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert read_settings({"SWIFT_S3_ENDPOINT_URL": ""}).s3_endpoint_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SWIFT_API_PORT", "eighty"),
        ("SWIFT_API_PORT", "70000"),
        ("SWIFT_LEASE_S", "0"),
        ("SWIFT_DEVICE", "gpu"),
        ("SWIFT_LORA_CACHE_BYTES", "-1"),
    ],
)
def test_a_bad_value_names_its_variable_and_itself(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=name) as caught:
        read_settings({name: value})
    assert value in str(caught.value)


def test_a_misspelt_variable_stops_the_start() -> None:
    with pytest.raises(InvalidSetting, match="SWIFT_API_PROT is no setting"):
        read_settings({"SWIFT_API_PROT": "8080"})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SWIFT_API_THREADS": "8"}, "SWIFT_API_EVENT_STREAMS"),
        ({"SWIFT_RESIDUAL_WAIT_S": "500"}, "SWIFT_RESIDUAL_TTL_S"),
        ({"SWIFT_RESIDUAL_REDIS_URL": f"redis://a/0,{Settings().redis_url}"}, "SWIFT_REDIS_URL"),
        ({"SWIFT_RESIDUAL_REDIS_URL": "redis://a/0, redis://a/0"}, "names a server twice"),
        ({"SWIFT_MAX_LORA_BYTES": str((5 << 30) + 1)}, "SWIFT_MAX_LORA_BYTES may be at most 5368709120: S3"),
    ],
)
def test_settings_that_contradict_each_other_stop_the_start(changes: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSetting, match=named):
        read_settings(changes)


def test_the_readme_lists_every_setting() -> None:
    readme = Path("README.md").read_text()
    missing = [name for name in Settings.model_fields if f"`{PREFIX}{name.upper()}`" not in readme]
    assert missing == []
