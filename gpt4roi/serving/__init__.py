"""The HTTP API: OpenAI-compatible chat about boxes on a picture."""
