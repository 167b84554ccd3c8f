"""`python -m vaeflow` is the `vaeflow` command."""

import sys

from vaeflow.cli import main

sys.exit(main())
