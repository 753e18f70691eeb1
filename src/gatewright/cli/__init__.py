"""The ``gatewright`` command."""
