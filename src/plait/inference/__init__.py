"""Answering: a trained decoder, its cache of keys and values, and text that continues a prompt, token by token."""
