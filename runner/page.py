"""The page at `/` and its files below /web/: plain HTML, CSS and modules from this folder of the repository alone."""

import os
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from common.errors import NotFound
from common.http.keys import make_public

WEB = Path(__file__).resolve().parent.parent / "web"
INDEX = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
# Only on a Space; its page is shown in a frame of the Hub's.
SPACE = "SPACE_ID"
HUB = "https://huggingface.co"
# `trusted-types`: no script can put text into the page as markup, but by the one policy that reads dropped HTML files.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; "
    "trusted-types dropped-file; frame-ancestors "
)

router = APIRouter(include_in_schema=False)
# The page asks for a key itself.
for path in ("/", "/docs", "/web"):
    make_public(path)


@dataclass(frozen=True)
class WebFile:
    content: bytes
    media_type: str
    tag: str


@router.get("/")
@router.get("/docs")
async def index(request: Request) -> Response:
    return _answer(request, INDEX)


@router.get("/web/{name}")
async def file(request: Request, name: str) -> Response:
    # Only what is in the folder itself; a name with `..` or a slash in it is the name of none of these. The page is
    # elsewhere, as its addresses are relative.
    if Path(name).suffix not in MEDIA_TYPES or name == INDEX or name not in os.listdir(WEB):
        raise NotFound("the page has no such file")
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    found = _read(name, (WEB / name).stat().st_mtime_ns)
    headers = {
        "ETag": found.tag,
        # Kept, but asked for each time: a page and its modules are always of one version.
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY + (HUB if os.environ.get(SPACE) else "'none'"),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if found.tag in known:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)


@lru_cache(maxsize=32)
def _read(name: str, changed_at: int) -> WebFile:  # noqa: ARG001
    """`changed_at` is part of the key, so that a file that was edited is read again."""
    content = (WEB / name).read_bytes()
    return WebFile(content, MEDIA_TYPES[Path(name).suffix], f'"{sha256(content).hexdigest()[:32]}"')
