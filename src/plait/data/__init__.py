"""Tokens: text in, batches out; the same batches whatever the number of ranks."""
