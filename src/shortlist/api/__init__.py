"""Where the learning and the serving column meet: fit, evaluate, and what a fitted model can do."""
