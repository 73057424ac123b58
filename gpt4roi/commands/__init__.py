"""`gpt4roi ask`, `gpt4roi chat` and `gpt4roi info`."""
