"""Several processes as one gateway: who starts them, what they share, how one takes another's place."""
