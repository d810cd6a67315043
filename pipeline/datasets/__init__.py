"""Raw data sets, and procedural landscapes, to the Parquet format."""
