"""Images as WebDataset shards with a manifest, and the deterministic stream of batches over them.

`manifest`, `locate`, `fetch`, `http` and `order` import no torch; `stream` does.
"""
