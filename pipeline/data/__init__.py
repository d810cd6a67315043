"""The Parquet format: pictures, records, shards and where they are stored."""
