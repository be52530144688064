"""From a dump of Wikipedia, or texts made of one, to clean text and shards of token ids."""
