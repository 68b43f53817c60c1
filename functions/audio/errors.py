"""What can go wrong with speech, and the HTTP status each thing becomes.

FactoryError
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
