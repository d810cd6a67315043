"""Training of generators: recipes and Parquet files to checkpoints."""
