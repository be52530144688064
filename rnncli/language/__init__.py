"""Code shared by the tasks of language models: learning, evaluation and generation."""
