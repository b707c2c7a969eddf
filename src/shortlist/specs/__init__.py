"""What a person declares: frozen values, at once the Python interface and the recipe's vocabulary."""
