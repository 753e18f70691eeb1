"""Type-checked use of the public face: ``mypy`` reads these modules, nothing runs them.

Each ``assert_type`` is a promise. Each ``type: ignore`` names a mistake that the types must catch; mypy reports one
that is not needed.
"""
