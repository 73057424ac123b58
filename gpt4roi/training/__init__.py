"""Training: stages as data on `transformers.Trainer`; only what differs from it stands here."""
