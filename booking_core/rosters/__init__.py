"""Rosters: who is there to serve, stated by operators and planners; an outer part (docs/staff.md)."""
