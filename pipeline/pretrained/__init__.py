"""Other people's weight files: which there are, and safe reading of them."""
