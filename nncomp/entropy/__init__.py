"""How many bits a text needs: its bound, what a file takes above the bound, and the bits of each token.

docs/ENTROPY.md defines the words. Knows nothing of terminals or of how the user names files.
"""
