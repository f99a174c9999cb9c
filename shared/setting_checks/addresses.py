"""Addresses that settings name: Redis and S3 servers, hosts to listen on, buckets.

Each check raises `ValueError` with a clause that follows "NAME: it". None quotes a Redis URL: of one that
is written wrongly any part may be the password.
"""

import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

REDIS_FORM = "redis://HOST:PORT/DB, rediss://HOST:PORT/DB for TLS, or unix:///PATH"
REDIS_PORT = 6379
#: How a server's certificate is checked, by redis-py's names; the same with CERT_ before it is Celery's.
CERT_REQS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
#: What a Redis URL may say after its question mark: a part of what redis-py and Celery both know.
_TLS_QUERY = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_ENCODE = "; in a password write %2F for /, %3F for ?, %23 for #, %40 for @, %3A for :"
_DB = re.compile(r"[0-9]{1,6}")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RESERVED_BUCKETS = re.compile(
    r"(xn--|sthree-|amzn-s3-demo-).*|.*(-s3alias|--ol-s3|--x-s3|--table-s3|\.mrap)"
)


class RedisAddress(NamedTuple):
    """What a Redis URL says."""

    scheme: str  # "redis", "rediss" or "unix"
    credentials: str  # as in the URL, with the @ behind them; or empty
    host: str  # empty: a socket
    port: int
    path: str  # of a socket
    db: int
    tls: Mapping[str, str]  # the ssl_* of the query

    @property
    def server(self) -> tuple[str, int]:
        """Equal for two spellings of one server, as far as that is known without asking a name server."""
        return (known_host(self.host), self.port) if self.host else (str(Path(self.path).resolve()), 0)

    @property
    def url(self) -> str:
        """As redis-py reads it, without TLS options."""
        if self.host:
            return f"{self.scheme}://{self.credentials}{join_port(self.host, self.port)}/{self.db}"
        return f"unix://{self.credentials}{self.path}?db={self.db}"

    @property
    def broker_url(self) -> str:
        """As Celery reads it; it takes TLS options elsewhere."""
        if self.host:
            return self.url
        return f"redis+socket://{self.credentials}{self.path}?virtual_host={self.db}"


def parse_redis_url(url: str) -> RedisAddress:
    """Read and check a Redis URL."""
    try:
        parts = _split(url, f"must be a Redis URL: {REDIS_FORM}")
        if parts.scheme not in ("redis", "rediss", "unix") or not url.lower().startswith(
            f"{parts.scheme}://"
        ):
            raise ValueError(_why_no_redis(url))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return RedisAddress(
            parts.scheme,
            _credentials(parts),
            "" if parts.scheme == "unix" else check_host(unquote(parts.hostname or "")),
            0 if parts.scheme == "unix" else _port(parts, REDIS_PORT),
            _socket_path(parts) if parts.scheme == "unix" else "",
            _db(parts, query.pop("db", None)),
            _tls(parts, query),
        )
    except ValueError as error:
        raise ValueError(f"{error}{_ENCODE if '@' in url else ''}") from None


def normalise_redis_url(url: str) -> str:
    """The URL with one spelling of ``ssl_cert_reqs``, that of redis-py."""
    parse_redis_url(url)
    return re.sub(r"(?<=[?&]ssl_cert_reqs=)[^&]*", lambda found: _cert_reqs(found[0]), url)


def check_s3_url(url: str) -> str:
    """The address of an S3 server, without a slash at its end."""
    check_endpoint(url)
    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            "must end with host and port: SWIFT_LORA_BUCKET and SWIFT_IMAGE_BUCKET name the buckets"
        )
    return url.rstrip("/")


def check_endpoint(url: str) -> str:
    """The address of an S3 server as boto3 takes it, maybe with a path."""
    form = "must be http://HOST:PORT or https://HOST:PORT"
    parts = _split(url, form)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(form)
    if "@" in parts.netloc:
        raise ValueError("must hold no credentials: they are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    check_host(parts.hostname or "")
    _port(parts, 443)
    return url


def check_base_url(url: str) -> str:
    """An address that paths are appended to, maybe with a path of its own; without a slash at its end."""
    form = "must be http://HOST or https://HOST, maybe with a port and a path"
    parts = _split(url, form)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(form)
    check_host(parts.hostname or "")
    _port(parts, 443)
    return url.rstrip("/")


def check_region(name: str) -> str:
    """The name of a region, which is part of every signature."""
    if not _LABEL.fullmatch(name) or name != name.lower():
        raise ValueError("must be the name of a region, for example eu-central-1")
    return name


def check_bucket(name: str) -> str:
    """A name that S3 takes for a bucket."""
    if not _BUCKET.fullmatch(name) or ".." in name or _is_ip(name) or _RESERVED_BUCKETS.fullmatch(name):
        raise ValueError(
            "must be a bucket name: 3 to 63 lower-case letters, digits, hyphens and single dots, a letter or "
            "digit at both ends, no IP address, no prefix or suffix that S3 keeps for itself"
        )
    return name


def check_host(host: str) -> str:
    """A host name or an IP address, without scheme, port and brackets."""
    if not host:
        raise ValueError("must name a host")
    if _is_ip(host):
        return host
    if "/" in host or ":" in host or "[" in host:
        raise ValueError("must be a host name or an IP address alone, without scheme, port and brackets")
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            "must name a host by letters, digits, hyphens and dots (names in other scripts as xn--…)"
        )
    if labels[-1].isdigit():
        _numeric(host)
    return host


def check_host_entry(entry: str) -> str:
    """An entry of a list of hosts: a name, ``.example.com`` (with subdomains), an address, or a network."""
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        if "/" in entry:
            raise ValueError(f"must list hosts and networks, and {entry!r} is no network") from None
        check_host(entry.removeprefix("."))
    return entry


def join_port(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def known_host(host: str) -> str:
    """One name for all that is known to be this machine; others in lower case."""
    host = host.lower().removesuffix(".")
    if host in ("localhost", "localhost.localdomain", "ip6-localhost") or host.endswith(".localhost"):
        return "localhost"
    if not _is_ip(host):
        return known_host(_numeric(host)) if host.rpartition(".")[2].isdigit() else host
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    return "localhost" if mapped.is_loopback or mapped.is_unspecified else str(mapped)


def _split(url: str, form: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its own words quote the URL
        raise ValueError(form) from None


def _why_no_redis(url: str) -> str:
    if "://" not in url:
        return f"must begin with its scheme: {REDIS_FORM}"
    return f"must be a Redis URL: {REDIS_FORM}"


def _credentials(parts: SplitResult) -> str:
    credentials, at, _ = parts.netloc.rpartition("@")
    if at and not credentials.partition(":")[2]:
        raise ValueError("must give a password with a user; a password alone is redis://:PASSWORD@HOST")
    return credentials + at


def _port(parts: SplitResult, default: int) -> int:
    try:
        port = default if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not port:
        raise ValueError("must have a port from 1 to 65535")
    return port


def _socket_path(parts: SplitResult) -> str:
    if parts.netloc.rpartition("@")[2] or not parts.path.strip("/"):
        raise ValueError("must name a socket by its whole path: unix:///run/redis.sock")
    return parts.path


def _db(parts: SplitResult, queried: str | None) -> int:
    in_path = "" if parts.scheme == "unix" else parts.path.removeprefix("/")
    if in_path and queried is not None:
        raise ValueError("must name its database once: after the port, or as ?db=")
    db = in_path or queried or "0"
    if not _DB.fullmatch(db):
        raise ValueError("must end with the number of a database, for example /0")
    return int(db)


def _tls(parts: SplitResult, query: Mapping[str, str]) -> Mapping[str, str]:
    if parts.fragment:
        raise ValueError("must have no #")
    if not set(query) <= set(_TLS_QUERY):
        raise ValueError(f"may say after its ? only db, {', '.join(_TLS_QUERY)}")
    if query and parts.scheme != "rediss":
        raise ValueError("has TLS options, so it must begin with rediss://")
    if query.get("ssl_check_hostname", "true").lower() not in ("true", "false"):
        raise ValueError("must say ssl_check_hostname=true or false")
    if "" in query.values():
        raise ValueError("must give each of its TLS options a value")
    reqs = _cert_reqs(query.get("ssl_cert_reqs", "required"))
    return {**query, "ssl_cert_reqs": reqs}


def _cert_reqs(value: str) -> str:
    reqs = value.lower().removeprefix("cert_")
    if reqs not in CERT_REQS:
        raise ValueError(f"must say ssl_cert_reqs={', '.join(CERT_REQS)}: how the certificate is checked")
    return reqs


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _numeric(host: str) -> str:
    """The IPv4 address that a short form such as 127.1 stands for."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        raise ValueError("must be an IP address, if it is written in numbers") from None
