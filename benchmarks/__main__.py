"""`python -m benchmarks`: the same as `python -m benchmarks.campaign`."""

import sys

from benchmarks.campaign import main

sys.exit(main())
