"""The WebRTC server and its page: ``streamdiff serve``."""
