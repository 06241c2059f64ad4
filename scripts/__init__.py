"""Development scripts: nothing here is imported by the package."""
