"""`gpt4roi benchmark`: speed and memory on this machine."""
