"""Composition roots: where a spec meets data, engine and listeners. `local` is one process, `driver` a Ray job."""
