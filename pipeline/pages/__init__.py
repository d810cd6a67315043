"""Self-contained HTML pages: their layout, tables and charts, shared by training and evaluation."""
