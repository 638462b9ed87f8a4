"""Sparse autoencoders and transcoders: train them fast, save them for sae_lens."""
