"""The record of each exchange, and its views: log line, metrics, spans."""
