"""What can go wrong in ways that a user should read as one sentence."""


class InputError(ValueError):
    """Bad input: one sentence that names the file, the record and the remedy."""


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error that is no fault of its input."""
