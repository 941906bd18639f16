"""Configuration, processor, encoder, adapters, splice, and the SpeechLLM model."""
