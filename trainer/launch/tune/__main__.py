"""`python -m trainer.launch.tune SEARCH_DIR/search.json`."""

import sys

from trainer.launch.tune.driver import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
