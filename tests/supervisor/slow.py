"""A module that takes its time when it is imported, as those on shared file systems do."""

import time

TOOK = 4.0
time.sleep(TOOK)
