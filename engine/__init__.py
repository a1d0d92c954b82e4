"""The engine: audio in, values out. Headless; imports nothing of the dashboard or the jobs."""
