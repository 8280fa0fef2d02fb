"""The one exception that means "what you gave me is wrong"."""


class InputError(ValueError):
    """Wrong or missing input, with a message for the person who supplied it.

    Says what was wrong, the offending value and what was expected. Command lines print it as ``error: ...``
    on stderr and exit with status 2, without a traceback; anything else that escapes is a defect here.
    """


class ToolError(RuntimeError):
    """A tool or an analysis failed, not the user's input; command lines end with exit code 1 and one line."""
