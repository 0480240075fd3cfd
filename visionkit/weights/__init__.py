"""Files of weights: in, a file; out, a dictionary of arrays."""
