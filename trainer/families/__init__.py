"""One folder a family; `table.py` lists them."""
