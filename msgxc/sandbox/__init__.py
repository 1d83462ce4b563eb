"""Local servers that speak each provider's real wire; steering.py says how an address steers them."""
