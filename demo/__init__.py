"""The demonstration behind `make run`: the sample bank, its live customers, and the story they tell."""
