"""Images as WebDataset shards with a manifest, and the deterministic stream of batches over them.

`manifest`, `fetch` and `order` import no torch; `stream` does.
"""
