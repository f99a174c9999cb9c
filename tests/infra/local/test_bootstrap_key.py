"""The first API key of a local stack."""

from pathlib import Path

import pytest

from infra.local.bootstrap_key import FILE, keep_bootstrap_key
from infra.local.checks import CannotStart
from shared.settings import Settings
from shared.tenants.api_key import ApiKey


def test_a_new_key_is_kept_where_only_its_owner_reads_it(tmp_path: Path) -> None:
    made = keep_bootstrap_key(Settings(home=tmp_path))
    assert made.is_new
    assert made.path == tmp_path / FILE
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert str(ApiKey.parse(made.text)) == made.path.read_text().strip()


def test_a_restart_keeps_the_key_and_does_not_call_it_new(tmp_path: Path) -> None:
    made = keep_bootstrap_key(Settings(home=tmp_path))
    assert keep_bootstrap_key(Settings(home=tmp_path)) == made._replace(is_new=False)


def test_the_key_of_the_settings_replaces_another(tmp_path: Path) -> None:
    keep_bootstrap_key(Settings(home=tmp_path))
    own = str(ApiKey.random())
    kept = keep_bootstrap_key(Settings(home=tmp_path, bootstrap_key=own))
    assert (kept.text, kept.is_new, kept.path.read_text()) == (own, False, f"{own}\n")


def test_a_file_that_holds_no_key_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("password")
    with pytest.raises(CannotStart, match="holds no API key"):
        keep_bootstrap_key(Settings(home=tmp_path))
