"""The verbs of this package on the command line, a file for those that belong together."""
