"""msgxc: a messaging exchange. The library: it imports neither prefect nor flows nor tasks."""
