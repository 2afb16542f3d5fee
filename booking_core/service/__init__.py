"""What the booking core does, one capability a file; no HTTP here."""
