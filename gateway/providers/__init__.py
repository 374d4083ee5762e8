"""Providers as declarations, and the dialects they speak. Pure."""
