"""Endpoints as data, and the document made from them. Pure."""
