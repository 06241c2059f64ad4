"""Who steers a running stream, through ``Controlled``."""
