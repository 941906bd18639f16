"""What the reply should be, and who writes it."""
