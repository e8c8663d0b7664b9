"""`/docs`: the OpenAPI document as a page to read and try. Its script and style come out of a package, and nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import as_file, files

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse, HTMLResponse, Response

from service.errors import NotFound

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""People type their token into this page: no script but ours runs in it, and it talks to this API alone."""
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon.png": "image/png",
}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Agon: the API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  validatorUrl: null,
});
"""
router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page() -> HTMLResponse:
    """The page."""
    return HTMLResponse(PAGE, headers=HEADERS)


@router.get("/docs/start.js")
async def start() -> Response:
    """Its only script of our own: a policy that allows none in the page keeps others out."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/{name}")
def asset(name: str = Path(max_length=40)) -> FileResponse:
    """Swagger UI's files, as its package ships them."""
    if name not in FILES:
        raise NotFound("no such file; GET /docs is the page")
    with as_file(files("fastapi_offline") / "static" / name) as path:
        return FileResponse(path, media_type=FILES[name], headers={"Cache-Control": "max-age=86400"})
