"""Measurements of the service beside its peers; see README.md."""
