"""What everything else stands on: errors, files, bits, text, and programs that run as children."""
