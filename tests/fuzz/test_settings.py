"""Any environment gives settings, or one sentence."""

import string

from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidSetting
from shared.messaging.celery_app import make_celery
from shared.redis_clients import control_redis, residual_servers
from shared.setting_checks.errors import PREFIX
from shared.settings import Settings, read_settings

#: What an environment can hold: no NUL, and bytes that are no UTF-8 as surrogates.
TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=[]).filter(
        lambda character: not "\ud800" <= character < "\udc80" and not "\udcff" < character <= "\udfff"
    ),
    max_size=30,
)
PARTS = """
redis rediss unix http https s3 :// : / // @ ? & = # %2F %zz [::1] [ localhost 127.0.0.1 127.1 1.2.3.4.5 ħost
a..b xn--a user p@ss 6379 0 -1 99999 1e3 1e999 10GB nan inf true yes cuda:0 auto db ssl_cert_reqs CERT_NONE
required ssl_ca_certs README.md ~ ~root .. , ٣
"""
PIECES = st.sampled_from(PARTS.split()) | st.sampled_from([" ", "\t", "\n", "x" * 300])
VALUES = TEXT | st.lists(PIECES, max_size=8).map("".join) | st.integers().map(str) | st.floats().map(str)
KNOWN = st.sampled_from([PREFIX + name.upper() for name in Settings.model_fields])
UNKNOWN = st.text(string.ascii_letters + "_", max_size=12).map(lambda name: f"swift_{name}")
NAMES = KNOWN | UNKNOWN | UNKNOWN.map(str.upper) | st.sampled_from(["AWS_ACCESS_KEY_ID", "PATH"]) | TEXT
SECRET = "hunter2"


def refusal(environ: dict[str, str]) -> str:
    """The sentence that refuses an environment; empty for one that gives settings."""
    try:
        read_settings(environ)
    except InvalidSetting as error:
        return str(error)
    return ""


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_environment_gives_settings_or_one_sentence(environ: dict[str, str]) -> None:
    said = refusal(environ)
    assert said.isprintable()
    assert len(said) < 600


@given(st.lists(PIECES, max_size=10).map("".join), st.booleans())
def test_any_redis_url_is_refused_or_accepted_by_every_client(url: str, is_residual: bool) -> None:
    environ = {"SWIFT_RESIDUAL_REDIS_URL" if is_residual else "SWIFT_REDIS_URL": url}
    if not refusal(environ):
        settings = read_settings(environ)
        for client in (control_redis(settings), *residual_servers(settings)):
            client.connection_pool.make_connection()
        with make_celery(settings).connection() as connection:
            assert connection.as_uri()


@given(
    st.lists(PIECES.filter(lambda piece: "@" not in piece), max_size=4).map("".join),
    st.lists(PIECES, max_size=4).map("".join),
)
def test_no_part_of_a_password_is_printed(before: str, after: str) -> None:
    for url in (f"redis://:{before}{SECRET}{after}@a/0", f"{before}{SECRET}{after}"):
        assert SECRET not in refusal({"SWIFT_REDIS_URL": url})
