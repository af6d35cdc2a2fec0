"""The one exception that a user can cause and can remedy."""


class InputError(ValueError):
    """Bad input: one sentence that names the file, the record and the remedy."""
