"""One trainer for every task: the loop, its optimizers, and the files of a run."""
