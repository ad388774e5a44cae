"""What an event does to a mentor: values and pure functions, of the standard library alone.

Times of the server are microseconds since the Unix epoch; effective times are whole seconds; a phone's time is in
nanoseconds, the precision in which it can be sent.
"""
