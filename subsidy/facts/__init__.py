"""Facts: what the centres and banks told us, each with when it was true, when it became known and where it came from."""
