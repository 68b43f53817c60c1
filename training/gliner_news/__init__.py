"""Trains the GLiNER that ships with the service: a pre-trained encoder, news articles and generated sentences."""
