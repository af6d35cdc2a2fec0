"""What can go wrong in ways that a user should read as one sentence."""

from rnagpt_lib.core.text import one_line

LONGEST = 1000  # letters of a sentence, whatever it quotes


class InputError(ValueError):
    """Bad input: one sentence that names the file, the record and the remedy. Whatever it quotes,
    it is one line that prints; of a very long one the middle is left out."""

    def __init__(self, sentence: str = ""):
        said = one_line(sentence)
        half = LONGEST // 2
        super().__init__(said if len(said) <= LONGEST else f"{said[:half]} … {said[-half:]}")


class NotThere(InputError):
    """A server does not have what it was asked for."""


class Refused(InputError):
    """A server will not answer this request, however often it is sent."""


class CapReached(InputError):
    """The next call could cost more than what is left under the cap."""


# By their names, as a kernel tells them.
REFUSALS = {"InputError", *(kind.__name__ for kind in InputError.__subclasses__())}


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error that is no fault of its input."""
