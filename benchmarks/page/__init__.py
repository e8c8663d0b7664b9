"""How fast the page is in a real browser, beside MLflow's own page on the same data."""
