"""SQL on the core's tables: small functions that take a Connection and hand back domain values."""
