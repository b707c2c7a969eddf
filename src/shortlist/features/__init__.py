"""The one place where raw values become numbers."""
