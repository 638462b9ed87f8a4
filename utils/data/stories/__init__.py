"""A story language from a written grammar, with the truth about every token."""
