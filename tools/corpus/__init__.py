"""Text with no network: NLTK's corpora, docstrings of packages, what the model itself writes."""
