"""The documentation is right: its examples run, its tables are those of the code."""
