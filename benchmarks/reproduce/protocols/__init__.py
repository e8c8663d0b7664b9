"""What each recipe is measured by. To add one: a line in `table.PROTOCOLS`."""
