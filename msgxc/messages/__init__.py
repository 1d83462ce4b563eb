"""Threads' messages: published, triaged, read, recalled. Each is a small campaign to the delivery engine."""
