"""The console: a page at `/` that uses the public API like any other client, and the files it is made of.

Who may see what, the API decides: the page itself is the same for everybody, and needs no key.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

STATIC = Path(__file__).with_name("static")
PAGE = "index.html"
TYPES = {
    PAGE: "text/html",
    "console.js": "text/javascript",
    "console.css": "text/css",
    "chart.js": "text/javascript",
}
#: Nothing is loaded from elsewhere, no script or style stands in the page, and no page may frame it.
#: https://www.w3.org/TR/CSP3/
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "font-src 'none'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
#: The page names its files with a hash of their bytes (`?v=`): such an address never has other bytes.
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class StaticFile:
    """A file of the page, kept in memory, and compressed once."""

    mimetype: str
    data: bytes

    @cached_property
    def gzipped(self) -> bytes:
        """The same for clients that accept gzip."""
        return gzip.compress(self.data, 9, mtime=0)

    @cached_property
    def etag(self) -> str:
        """Names these bytes; `build.js` writes it into the page."""
        return hashlib.sha256(self.data).hexdigest()[:12]

    def response(self) -> Response:
        """The answer to the present request."""
        is_gzipped = request.accept_encodings["gzip"] > 0
        response = Response(self.gzipped if is_gzipped else self.data, mimetype=self.mimetype)
        if is_gzipped:
            response.headers["Content-Encoding"] = "gzip"
        response.vary.add("Accept-Encoding")
        response.set_etag(self.etag, weak=True)  # weak: of both encodings
        is_versioned = request.args.get("v") == self.etag
        response.headers["Cache-Control"] = FOR_EVER if is_versioned else "no-cache"
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.make_conditional(request)
        return response


def console_api() -> Blueprint:
    """The routes of the page and its files. All its addresses are relative: any prefix of a proxy will do."""
    api = Blueprint("console", __name__)
    files = {name: StaticFile(mimetype, (STATIC / name).read_bytes()) for name, mimetype in TYPES.items()}

    @api.get("/")
    def read_page() -> Response:
        return files[PAGE].response()

    @api.get("/console/<name>")
    def read_file(name: str) -> Response:
        if name not in files or name == PAGE:
            raise NotFound(f"the page has no file {name!r}")
        return files[name].response()

    return api
