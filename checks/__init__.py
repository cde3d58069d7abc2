"""What a person runs by hand: `python -m checks.NAME`. `make test` runs a small part of each check."""
