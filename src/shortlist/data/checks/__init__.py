"""Named checks of tables: what is wrong or doubtful in them, how often, where, and what to do about it."""
