"""Where the proofs come from: bearer tokens, each from a source that vouches for its subjects."""
