"""Tiny models, synthetic audio and a scripted LLM, for this package's tests and for those built on it."""
