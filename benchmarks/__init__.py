"""How fast it is, on this machine: `make bench`. docs/speed.md tells what the figures mean."""
