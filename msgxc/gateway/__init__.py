"""What apps and services talk to: REST, websocket, webhooks, links. Never imports prefect."""
