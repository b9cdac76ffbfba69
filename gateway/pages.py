"""The two pages for people: Swagger UI on /docs, ReDoc on /redoc, both drawn from /openapi.json.

Guarantees that a browser loads nothing from another host: every file is in `static/`, and each page's policy forbids
the rest. Knows no route and no operation of the API.
"""

from hashlib import sha256
from pathlib import Path
from typing import Final

from aiohttp import web

STATIC_DIR: Final = Path(__file__).parent / "static"

CACHE_SECONDS_MAX: Final = 31_536_000  # a year, the longest that RFC 9111 caches are asked to honour


def _fingerprints() -> dict[str, str]:
    """Name every file that may be served, with the part of its hash that a change of content changes."""
    files = (path for path in STATIC_DIR.iterdir() if path.suffix in {".js", ".css", ".txt"})
    return {path.name: sha256(path.read_bytes()).hexdigest()[:16] for path in files}


FINGERPRINTS: Final = _fingerprints()

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Server": "wallet",
}

# Both interfaces write style elements while they run, so styles cannot be held to 'self'; scripts are.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REDOC_POLICY: Final = f"{POLICY}; worker-src blob:"  # its search runs in a worker made from a blob

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Wallet API: {title}</title>
<link rel="icon" href="data:,">
{head}
</head>
<body>
{body}
</body>
</html>
"""


def _static(name: str) -> str:
    return f"/static/{name}?v={FINGERPRINTS[name]}"


DOCS_PAGE: Final = PAGE.format(
    title="try it out",
    head=f"""<link rel="stylesheet" href="{_static("swagger-ui.css")}">
<link rel="stylesheet" href="{_static("pages.css")}">""",
    body=f"""<nav><a href="/redoc">Reference</a> <a href="/openapi.json">OpenAPI document</a></nav>
<div id="docs"></div>
<script src="{_static("swagger-ui-bundle.js")}"></script>
<script src="{_static("docs.js")}"></script>""",
)

REDOC_PAGE: Final = PAGE.format(
    title="reference",
    head=f"""<link rel="stylesheet" href="{_static("pages.css")}">""",
    body=f"""<redoc spec-url="/openapi.json" native-scrollbars></redoc>
<script src="{_static("redoc.standalone.js")}"></script>""",
)


async def docs(request: web.Request) -> web.Response:
    """Show the operations in Swagger UI, where each can be tried."""
    del request
    return _page(DOCS_PAGE, POLICY)


async def redoc(request: web.Request) -> web.Response:
    """Show the operations in ReDoc, to be read."""
    del request
    return _page(REDOC_PAGE, REDOC_POLICY)


async def static(request: web.Request) -> web.FileResponse:
    """Serve the file `{name}` of `static/`, compressed when its `.gz` is acceptable; raises HTTPNotFound.

    An address with the file's own fingerprint may be cached for good; any other is asked for again each time.
    """
    name = request.match_info["name"]
    fingerprint = FINGERPRINTS.get(name)
    if fingerprint is None:
        raise web.HTTPNotFound
    is_fixed = request.query.get("v") == fingerprint
    caching = f"public, max-age={CACHE_SECONDS_MAX}, immutable" if is_fixed else "no-cache"
    return web.FileResponse(STATIC_DIR / name, headers={**SECURITY_HEADERS, "Cache-Control": caching})


def _page(text: str, policy: str) -> web.Response:
    headers = {**SECURITY_HEADERS, "Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return web.Response(text=text, content_type="text/html", headers=headers)
