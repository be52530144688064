"""Language models: what the tasks share that learn one, measure it, and write with it."""
