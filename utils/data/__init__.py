"""Texts, stories, sequences and games: what models read."""
