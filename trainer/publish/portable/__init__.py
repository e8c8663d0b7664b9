"""Files that are copied into every package as they are. They import nothing of this project."""
