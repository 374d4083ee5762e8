"""Reads what a call was about off its bodies, after its last byte: one module for each API, and what they share."""
