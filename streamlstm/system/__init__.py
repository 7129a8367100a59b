"""What every part stands on: files that are written completely, signals, input."""
