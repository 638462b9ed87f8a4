"""Train the course's own small models, whose truth is known: `python -m tools.tiny`."""
