"""Train, export and evaluate the Llama of the tests: a small model that copies the opening sentences of an article."""
