"""The commands by purpose. Modules that need torch are imported inside them, so that `--help` answers at once."""
