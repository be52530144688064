"""Code shared by the tasks that label words and texts."""
