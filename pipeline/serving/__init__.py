"""Label maps to pictures over HTTP: the service behind the painter, for one process or Ray Serve."""
