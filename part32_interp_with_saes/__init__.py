"""Part 3.2: interpretability with sparse autoencoders. One module per section."""
