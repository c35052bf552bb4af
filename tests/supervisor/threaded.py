"""A module that starts a thread when it is imported, as some libraries do."""

import threading

release = threading.Event()
thread = threading.Thread(target=release.wait, daemon=True)
thread.start()
