"""Train, export and evaluate the embedded Llama: a small model that copies the opening sentences of an article."""
