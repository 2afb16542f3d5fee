"""The dashboard: reads the read models, draws, and asks the core to act."""
