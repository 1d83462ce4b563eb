"""What becomes of somebody's data when they ask."""
