"""What every request passes, in the order of `app.py`."""
