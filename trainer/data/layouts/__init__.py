"""One small reader for each way in which images and labels lie together; `table.py` lists them."""
