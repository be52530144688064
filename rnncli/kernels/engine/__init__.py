"""The engine: traces a cell's step, derives its gradient and writes compiled loops for it."""
