"""Training a model on many documents."""
