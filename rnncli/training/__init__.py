"""One trainer for every task: the loop, what it optimizes with, and the files that keep a run."""
