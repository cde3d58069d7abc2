"""Online predictors and the mixer: integers only. Knows nothing of the network's inside, of files or of the container."""
