"""The whole engine beside senders that record nothing."""
