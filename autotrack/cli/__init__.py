"""The command line. Nothing of it is imported on the training side."""
