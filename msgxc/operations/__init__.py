"""What keeps an exchange running, and brings it back."""
