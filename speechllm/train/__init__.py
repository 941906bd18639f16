"""Objectives, the warm-up, the loop, and its log."""
