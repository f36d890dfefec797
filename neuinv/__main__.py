"""``python -m neuinv``: the command line."""

import sys

from neuinv.cli import main

sys.exit(main())
