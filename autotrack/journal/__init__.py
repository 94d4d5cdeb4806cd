"""The append-only file of one process of one run: its format, its writer and its reader."""
