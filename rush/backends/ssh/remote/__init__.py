"""Shell scripts that are run on hosts over SSH, with holes in them."""
