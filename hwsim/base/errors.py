"""The two exceptions that command lines print as one line: wrong input, and a tool that failed."""


class InputError(ValueError):
    """Wrong or missing input, with a message for the person who supplied it.

    The message names what was wrong, the offending value and what was expected. Command lines print it as
    ``error: ...`` on stderr and exit with status 2, without a traceback. A traceback always means a defect in hwsim.
    """


class ToolError(RuntimeError):
    """Failure of a tool or an analysis that the input did not cause; command lines print it and exit with status 1."""
