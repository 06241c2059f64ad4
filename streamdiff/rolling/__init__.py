"""Rolling Forcing: the windowed video mode (ALGORITHMS 6)."""
