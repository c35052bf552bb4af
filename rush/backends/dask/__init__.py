"""Workers beside the workers of a Dask cluster."""
