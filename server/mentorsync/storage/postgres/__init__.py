"""PostgreSQL: one primary, any number of servers."""
