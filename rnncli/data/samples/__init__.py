"""Original sample verse that ships with the package, one file a voice."""
