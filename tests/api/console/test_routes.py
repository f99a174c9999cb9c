import gzip
import re
from dataclasses import replace
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.console.routes import STATIC
from api.services import Services


def sources(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="(console/[^"]+)"', page)


def test_the_page_and_its_files_need_no_key(keyed_client: FlaskClient) -> None:
    page = keyed_client.get("/")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert [source.partition("?")[0] for source in sources(page.text)] == [
        "console/console.css",
        "console/console.js",
    ]
    types = [keyed_client.get(f"/{source}").mimetype for source in sources(page.text)]
    assert types == ["text/css", "text/javascript"]


def test_the_page_holds_no_script_and_no_style_of_its_own(client: FlaskClient) -> None:
    page = client.get("/")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page.text)
    policy = page.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"


def test_browsers_keep_what_has_its_hash_in_its_address(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.headers["Cache-Control"] == "no-cache"
    for source in sources(page.text):
        answer = client.get(f"/{source}")
        assert "immutable" in answer.headers["Cache-Control"]
        old = client.get(f"/{source.partition('?')[0]}?v=0")
        assert old.headers["Cache-Control"] == "no-cache"
        known = client.get(f"/{source}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (known.status_code, known.data) == (304, b"")


def test_files_are_compressed_for_who_accepts_it(client: FlaskClient) -> None:
    plain = client.get("/console/console.js")
    packed = client.get("/console/console.js", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data


@pytest.mark.parametrize("path", ["/console/", "/console/index.html", "/console/x.js", "/console/../app.py"])
def test_there_are_no_other_files(path: str, client: FlaskClient) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_the_console_works_behind_a_prefix_and_only_under_allowed_hosts(services: Services) -> None:
    changes = {"trusted_proxies": 1, "allowed_hosts": ("example.com",)}
    settings = services.settings.model_copy(update=changes)
    behind = create_app(replace(services, settings=settings)).test_client()
    headers = {"X-Forwarded-Prefix": "/images-api", "X-Forwarded-Host": "example.com"}
    page = behind.get("/", headers=headers)
    assert page.status_code == 200
    for source in sources(page.text):
        address = urljoin("https://example.com/images-api/", source)
        assert address.startswith("https://example.com/images-api/console/")
    assert behind.get("/", headers={**headers, "X-Forwarded-Host": "evil.example"}).status_code == 421


def test_sources_name_no_address_that_begins_at_the_root() -> None:
    quoted = re.compile(r"""["'`](?:https?:)?/(?:v1|console|docs)\b""")
    files = [path for path in (STATIC.parent / "src").rglob("*") if path.suffix in (".js", ".html", ".css")]
    assert files
    assert [str(path) for path in files if quoted.search(path.read_text())] == []
