"""What providers, devices and people say afterwards: verified, put into the inbox, merged into the ledger."""
