"""Decisions replayed on demand that has come: what each policy would have done, day by day."""
