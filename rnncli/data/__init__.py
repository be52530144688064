"""Text in, numbered batches out: corpora, tokenizers, vocabularies, batching."""
