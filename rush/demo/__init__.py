"""The demo: a worker loop that reads like the tutorial, and what is measured and shown of a run of it."""
