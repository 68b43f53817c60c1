"""Training of the small embedded GLiNER, from generated text only."""
