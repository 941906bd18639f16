"""`python -m speechllm`: the same as the console script."""

import sys

from speechllm.cli import main

sys.exit(main())
