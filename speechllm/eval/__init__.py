"""Attribute accuracy, word error rate, agreement and retention, and the report that shows them."""
