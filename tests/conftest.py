"""Makes `forked` importable in every test."""
