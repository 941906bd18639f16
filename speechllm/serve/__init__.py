"""Asking a trained model about audio."""
