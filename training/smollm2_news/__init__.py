"""Trains the adapter with which SmolLM2 summarises news faithfully."""
