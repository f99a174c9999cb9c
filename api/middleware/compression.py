"""Compresses responses for clients that accept gzip."""

import gzip

from flask import Flask, Response, request

from api.server.threads import Offload, run_inline

#: Smaller responses fit into one packet anyway.
MIN_BYTES = 1024
#: More bytes than this are compressed in a thread, so that other clients need not wait.
OFFLOAD_BYTES = 256 << 10
LEVEL = 5
#: Images are compressed already, and of a stream of events each must leave at once. A response that is not
#: worth it, as JSON with images in base64, says ``Cache-Control: no-transform``.
MIMETYPES = ("application/json", "application/problem+json", "text/html", "text/plain")


def register(app: Flask, offload: Offload) -> None:
    """Compress large responses of ``app``."""

    @app.after_request
    def after_request(response: Response) -> Response:
        if response.mimetype not in MIMETYPES or response.cache_control.no_transform:
            return response
        response.vary.add("Accept-Encoding")
        if not request.accept_encodings["gzip"] or response.is_streamed or response.direct_passthrough:
            return response
        data = response.get_data()
        if len(data) >= MIN_BYTES:
            work = offload if len(data) >= OFFLOAD_BYTES else run_inline
            response.set_data(work(lambda: gzip.compress(data, LEVEL, mtime=0)))
            response.headers["Content-Encoding"] = "gzip"
        return response
