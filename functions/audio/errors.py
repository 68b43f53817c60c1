"""What can go wrong with speech, and the HTTP status each thing becomes.

FactoryError
├── RangeNotSatisfiable     416   no byte of the recording is in the range
├── UpstreamFailed          502   the speech cloud failed and no fallback is allowed
│   ├── UpstreamRefused           it turned the request down: asking again would not help
│   └── UpstreamSilent            it did its work, but no sound came of it
├── SpeechFailed            502   a voice that needs no cloud could not be started, or could not speak this text
│   └── VoiceAway                 it is not there yet, or has too much to say already
├── UpstreamTimeout         504   the speech cloud did not answer in time
│   └── ImpatientTimeout          it had less time than it may take: the caller would not wait
└── Unavailable
    └── UpstreamUnavailable 503   the speech cloud keeps failing and is left alone for a while
"""

from common.errors import FactoryError, Unavailable


class RangeNotSatisfiable(FactoryError):
    status, slug, title = 416, "range-not-satisfiable", "Range not satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"range: the recording has {size} bytes, and none of those that were asked for")
        self._size = size

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Range": f"bytes */{self._size}"}


class UpstreamFailed(FactoryError):
    status, slug, title = 502, "upstream-failed", "The speech cloud failed"


class UpstreamRefused(UpstreamFailed):
    pass


class UpstreamSilent(UpstreamFailed):
    pass


class SpeechFailed(FactoryError):
    status, slug, title = 502, "speech-failed", "The text could not be spoken"


class VoiceAway(SpeechFailed):
    pass


class UpstreamTimeout(FactoryError):
    status, slug, title = 504, "upstream-timeout", "The speech cloud did not answer in time"


class ImpatientTimeout(UpstreamTimeout):
    pass


class UpstreamUnavailable(Unavailable):
    slug, title = "upstream-unavailable", "The speech cloud keeps failing"
