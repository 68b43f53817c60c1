"""The answer that plays a recording while it is made."""

from contextlib import AsyncExitStack

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from functions.audio.service import Recording


class RecordingResponse(StreamingResponse):
    """Streams `recording` and then lets go of `held`: at its end, when it breaks and when the listener leaves.

    A recording that breaks raises here, after the headers, so the server breaks the connection as well.
    """

    media_type = "audio/mpeg"

    def __init__(self, recording: Recording, held: AsyncExitStack) -> None:
        headers = {"X-Audio-Engine": recording.engine, "X-Audio-Voice": recording.voice, "ETag": recording.etag}
        super().__init__(recording, headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)
