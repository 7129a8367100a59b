"""Text that a model finds: random, most probable, or with unknown characters."""
