"""Training of the embedded model "tiny", one command per stage (see README.md)."""
