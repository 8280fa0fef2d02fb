"""Foundations that every other room may import: errors, file writing, bits, text, and programs run as children."""
