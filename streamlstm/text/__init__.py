"""Characters, words and lines: the units in which a text is scored."""
