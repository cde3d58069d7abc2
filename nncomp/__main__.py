"""`python -m nncomp`: the same as the command `nncomp`."""

from nncomp.cli.main import main

if __name__ == "__main__":
    main()
