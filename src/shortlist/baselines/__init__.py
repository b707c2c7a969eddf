"""Classical recommenders: yardsticks in every report, candidate sources and fallbacks at serving time.

Each is a frozen value of settings; `fit(Interactions)` gives an object with `scores(users) -> [b, N]`
or, for ratings, `predict(users, items) -> [n]`. NumPy and SciPy only; iALS needs `implicit`.
"""
