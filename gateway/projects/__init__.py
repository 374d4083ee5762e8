"""Workflows: plain async generators over plain data."""
