"""The version of the service, as health and openapi.json tell it; the same as in pyproject.toml."""

VERSION = "0.2.0"
