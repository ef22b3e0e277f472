"""The one error type that a user is meant to read."""


class WorkbenchError(ValueError):
    """An error that names the file or record, what was expected, and the remedy.

    The command line prints its text without a traceback; everything else is a defect of ours.
    """
