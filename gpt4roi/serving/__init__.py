"""The HTTP API: OpenAI-compatible chat about boxes on an image."""
