"""Many streams over one model, in memory and in a file."""
