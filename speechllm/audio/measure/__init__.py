"""Measured attributes: signals -> numbers."""
