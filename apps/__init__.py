"""Programs people start: the command line, the demo, and the media files under them."""
