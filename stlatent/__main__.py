"""`python -m stlatent`, which is also what `accelerate launch -m` wants."""

import sys

from .cli import main

sys.exit(main())
