"""Lines of a log as they arrive: which are unusual, and why."""
