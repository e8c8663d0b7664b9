"""Scripts and styles. Their path has a digest of them all, so a browser keeps them for good and asks for others when one has changed."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath

from service.errors import NotFound

FOLDER = Path(__file__).parent
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
PREFIX = "/static"
FOREVER = "public, max-age=31536000, immutable"
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asset:
    """One file."""

    content: bytes
    zipped: bytes
    media_type: str


@cache
def assets() -> dict[str, Asset]:
    """All, by their path below this folder."""
    found = sorted(path for path in FOLDER.rglob("*") if path.suffix in TYPES and path.is_file())
    return {path.relative_to(FOLDER).as_posix(): _read(path) for path in found}


@cache
def digest() -> str:
    """Of all of them."""
    every = hashlib.sha256()
    for name, asset in assets().items():
        every.update(f"{name} {len(asset.content)} ".encode() + asset.content)
    return every.hexdigest()[:16]


def url(name: str) -> str:
    """Where a page asks for it. Raises KeyError for what isn't there, but for packages that were not fetched."""
    if not name.startswith("vendor/"):
        assets()[name]
    return f"{PREFIX}/{digest()}/{name}"


def zips(request: Request) -> bool:
    """Whether the client takes gzip."""
    return "gzip" in request.headers.get("accept-encoding", "")


@router.get(PREFIX + "/{of}/{name:path}")
async def asset(request: Request, of: str = InPath(max_length=40), name: str = InPath(max_length=200)) -> Response:
    """One of them."""
    found = assets().get(name)
    if found is None:
        raise NotFound(f"no file {name!r} belongs to the page")
    # A page from before an update gets what there is now, and doesn't keep it.
    headers = {"Cache-Control": FOREVER if of == digest() else "no-store", "Vary": "Accept-Encoding"}
    if zips(request):
        return Response(found.zipped, headers={**headers, "Content-Encoding": "gzip"}, media_type=found.media_type)
    return Response(found.content, headers=headers, media_type=found.media_type)


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, gzip.compress(content, 9, mtime=0), TYPES[path.suffix])
