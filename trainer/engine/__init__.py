"""The engine: players, state, step, loop. Knows no family, loss, penalty or sink by name."""
