"""Synthesizable units in Amaranth. Widths and biases come from golden's format descriptors, never arithmetic."""
