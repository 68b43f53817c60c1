"""The door: with keys set, a request needs one, except for what is public."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from common import keys
from common.callers import flow
from common.errors import Unauthorized
from common.http.bodies import refuse_unread
from common.http.direct import is_direct

LOOKED_AT = f"`Authorization: Bearer KEY` or `{keys.KEY_HEADER}: KEY`"

_public: dict[str, Callable[[], bool]] = {}


def always() -> bool:
    return True


def make_public(path: str, when: Callable[[], bool] = always) -> None:
    """Whoever comes may have `path` and what is below it, as long as `when()`; of `/` only that page itself."""
    _public["/" if path == "/" else path.rstrip("/")] = when


def is_public(path: str) -> bool:
    """Whether `path` needs no key. It has to be the very path by which the request finds its route."""
    at = path
    while at:
        # What is below the page itself is not below it in this sense: that would be everything.
        if (at != "/" or path == "/") and (when := _public.get(at)) is not None and when():
            return True
        at = at.rpartition("/")[0]
    return False


class Keys:
    """Answers 401 before anything of the body is read."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] != "http" or not keys.are_set() or keys.is_key_name(flow().caller)
        if is_open or is_direct(scope) or is_public(routed_path(scope)):
            await self.app(scope, receive, send)
            return
        is_wrong = bool(keys.offered(Headers(scope=scope)))
        said = "there is no such key" if is_wrong else "a key is needed"
        error = Unauthorized(f"{said}; send it as {LOOKED_AT}", is_wrong=is_wrong)
        await refuse_unread(error, scope, receive, send)


def routed_path(scope: Scope) -> str:
    """The path by which Starlette looks for a route: decoded once, and without what a proxy has taken off."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and f"{path}/".startswith(f"{root}/") else path
