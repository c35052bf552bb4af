"""Workers on hosts over SSH."""
