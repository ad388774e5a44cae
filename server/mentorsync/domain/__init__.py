"""The effect of an event on a mentor: values and pure functions. Imports the standard library only.

All times count from the Unix epoch. The server's times are in microseconds, effective times in whole seconds, and a
phone's time in nanoseconds, the precision with which it can be sent.
"""
