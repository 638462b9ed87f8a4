"""Part 3.1: superposition and sparse autoencoders on toy models."""
