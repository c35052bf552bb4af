"""What users would take instead, a file each: no-op tasks on two worker processes, and their results collected."""
