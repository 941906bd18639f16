"""Manifests, seed descriptions, prompts and their one renderer, batching."""
