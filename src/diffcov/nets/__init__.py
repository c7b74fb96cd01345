"""Networks. They know nothing of schedules or covariances."""
