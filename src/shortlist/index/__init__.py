"""Finding the best candidates of a catalogue: exact search and exact ranks, in NumPy."""
