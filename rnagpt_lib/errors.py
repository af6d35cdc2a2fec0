"""What can go wrong in ways that a user should read as one sentence."""


class InputError(ValueError):
    """Bad input: one sentence that names the file, the record and the remedy."""


class NotThere(InputError):
    """A server does not have what it was asked for."""


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error that is no fault of its input."""
