"""What can be known of the files that settings name, without using them."""

import ssl
from pathlib import Path

from shared.errors import InvalidSetting
from shared.validation_messages import quoted


def check_home(home: Path) -> None:
    """``home`` is a folder or can become one; raises `InvalidSetting`."""
    try:
        found = next(path for path in (home, *home.absolute().parents) if path.exists())
    except OSError as error:
        raise InvalidSetting(f"SWIFT_HOME={quoted(str(home))}: {error.strerror}") from None
    if not found.is_dir():
        raise InvalidSetting(f"SWIFT_HOME={quoted(str(home))}: {found} is a file, not a folder")


def check_tls_files(ca: Path | None, cert: Path | None, key: Path | None) -> None:
    """The files hold what TLS needs of them; raises `InvalidSetting`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca is not None:
            context.load_verify_locations(ca)
    except OSError as error:
        raise _bad_pem("SWIFT_REDIS_CA_FILE", ca, error, "it holds no certificate in PEM") from None
    try:
        if cert is not None:
            context.load_cert_chain(cert, key, password="")
    except OSError as error:
        why = "it holds no certificate in PEM with its unencrypted key; SWIFT_REDIS_KEY_FILE may name the key"
        raise _bad_pem("SWIFT_REDIS_CERT_FILE", cert, error, why) from None


def _bad_pem(variable: str, path: Path | None, error: OSError, why: str) -> InvalidSetting:
    if not isinstance(error, ssl.SSLError) and error.strerror:
        why = error.strerror
    return InvalidSetting(f"{variable}={quoted(str(path))}: {why}")
