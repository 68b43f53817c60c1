"""Server-Sent Events: what every answer that is a stream of them says of itself."""

EVENT_STREAM = "text/event-stream"
# For proxies: a stream that is collected first is none.
UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
