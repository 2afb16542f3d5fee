"""The figures of booking.py: each function measures what one row or a few rows of the table say."""
