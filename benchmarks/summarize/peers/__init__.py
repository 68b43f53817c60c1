"""Servers the service is measured against; they run in the benchmark's own environment."""
