"""The networks of the paper, our exact pattern modulation, and what runs them fast."""
