"""Every checkpoint of a store: finding, fetching, naming, tracing and freeing them."""
