"""Training of "tiny-rolling", the rolling model inside the package."""
