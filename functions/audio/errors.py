"""What can go wrong with speech, and the HTTP status each thing becomes.

FactoryError
├── UpstreamFailed          502   the speech cloud failed and no fallback is allowed
│   ├── UpstreamRefused           it turned the request down: asking again would not help
│   └── UpstreamSilent            it did its work, but no sound came of it
├── EspeakFailed            502   espeak-ng could not be started, or could not speak this text
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


class EspeakFailed(FactoryError):
    status, slug, title = 502, "speech-failed", "The text could not be spoken"


class UpstreamTimeout(FactoryError):
    status, slug, title = 504, "upstream-timeout", "The speech cloud did not answer in time"


class ImpatientTimeout(UpstreamTimeout):
    pass


class UpstreamUnavailable(Unavailable):
    slug, title = "upstream-unavailable", "The speech cloud keeps failing"
