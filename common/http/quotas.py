"""Who has had what it may have is answered 429 before its body is read; and everybody is told what is left.

Fields: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
"""

from contextlib import ExitStack

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common import quotas
from common.errors import TooManyRequests
from common.http.bodies import refuse_unread
from common.http.direct import is_direct
from common.http.keys import routed_path
from common.quotas import AT_WORK, MINUTE_SECONDS, Bill, Metered, Policy
from common.settings import get_settings


class Quotas:
    """Counts the requests to functions. Within what names the caller."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._at_work = quotas.AtWork()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_direct(scope):
            quotas.count_nothing()
            await self.app(scope, receive, send)
            return
        function = quotas.function_at(routed_path(scope)) if scope["type"] == "http" else None
        policies = [] if function is None or not _is_counted(scope, function) else function.policies()
        if function is None or not (policies or get_settings().requests_at_work):
            await self.app(scope, receive, send)
            return
        answer = _Answer(quotas.begin_bill(), policies, self._at_work, send)
        with ExitStack() as stack:
            try:
                if policies:
                    quotas.charge_request(function.name)
                stack.enter_context(self._at_work.hold())
            except TooManyRequests as error:
                await refuse_unread(error, scope, receive, answer.send)
            else:
                await self.app(scope, receive, answer.send)


class _Answer:
    def __init__(self, bill: Bill, policies: list[Policy], at_work: quotas.AtWork, send: Send) -> None:
        self._bill = bill
        self._policies = policies
        self._at_work = at_work
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # A request that was refused, or for which the service had no time, is not charged.
            if message["status"] == TooManyRequests.status or message["status"] >= 500:
                self._bill.give_back()
            self._tell(MutableHeaders(scope=message))
        await self._send(message)

    def _tell(self, headers: MutableHeaders) -> None:
        told, remaining = [], []
        for policy in self._policies:
            unit = "" if policy.unit == "requests" else f';qu="{policy.unit}"'
            told.append(f'"{policy.name}";q={policy.most}{unit};w={MINUTE_SECONDS}')
            some, seconds = quotas.left(policy)
            remaining.append(f'"{policy.name}";r={some}' + (f";t={seconds}" if seconds else ""))
        if (most := get_settings().requests_at_work) is not None:
            told.append(f'"{AT_WORK}";q={most};qu="concurrent-requests"')
            remaining.append(f'"{AT_WORK}";r={self._at_work.left()}')
        headers["RateLimit-Policy"] = ", ".join(told)
        headers["RateLimit"] = ", ".join(remaining)


def _is_counted(scope: Scope, function: Metered) -> bool:
    """Lists, and what was made before, may be had as often as anybody likes."""
    return scope["method"] == "POST" and routed_path(scope) in function.paths
