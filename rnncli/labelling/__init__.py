"""Words and texts labelled: what the tasks share that do it."""
