"""Keeps the records durably, in order, at speed: Peewee over SQLite or PostgreSQL."""
