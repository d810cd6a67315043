"""Training a segmenter on real photographs."""
