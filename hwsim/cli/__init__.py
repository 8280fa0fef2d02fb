"""Options, error handling and exit codes that the command lines of all tools share."""
