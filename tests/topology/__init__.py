"""Servers as sites run them: with TLS, under Sentinel, as a Cluster."""
