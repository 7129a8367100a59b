"""A log as a stream of events, wherever it is and whatever its format, and where its alarms go."""
