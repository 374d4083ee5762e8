"""What travels: header fields, event streams, stream modes. Pure."""
