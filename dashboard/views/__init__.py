"""The pages, one function each; dashboard/app.py navigates between them."""
