"""The command line: files, terminals, options, progress and exit statuses. Knows nothing of tokens or probabilities."""
