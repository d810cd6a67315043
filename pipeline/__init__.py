"""What runs in production: label maps to pictures, and the files on both sides."""
