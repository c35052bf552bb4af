"""The command line: ``rush NOUN VERB``."""
