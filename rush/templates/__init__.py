"""Job scripts with holes in them."""
