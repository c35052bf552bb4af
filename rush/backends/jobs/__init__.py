"""What the backends of job systems have in common."""
