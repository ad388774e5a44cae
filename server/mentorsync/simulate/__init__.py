"""Pretend phones against a running service. They use its public API alone, as real phones do."""
