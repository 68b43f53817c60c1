"""A transport that sends the head of an answer together with what follows it: one call of the system, one packet."""

import asyncio
from typing import Any

# Larger pieces are not copied to be joined.
MOST_JOINED_BYTES = 65_536


class CorkedTransport(asyncio.Transport):
    """Holds back one piece until the next one comes, or until the loop has nothing else that is ready.

    No more than one: else what an application writes without a pause would be held without a bound.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: Any) -> None:
        if self._held:
            self._flush(data)
        elif data and len(data) <= MOST_JOINED_BYTES:
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def _flush(self, more: bytes = b"") -> None:
        held, self._held = self._held, b""
        if self._transport.is_closing():
            return
        if len(held) + len(more) <= MOST_JOINED_BYTES:
            held, more = held + more, b""
        for piece in (held, more):
            if piece:
                self._transport.write(piece)

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._held = b""
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + len(self._held)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)
