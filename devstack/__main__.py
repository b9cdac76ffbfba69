"""The command line of the dev stack: `python -m devstack up`, which `make up` runs."""

import os
import signal
import sys

# Until the stack takes the signals over, Ctrl-C ends this without a word: nothing was started yet.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from devstack.up import up  # noqa: E402 (importing takes a moment, in which Ctrl-C would print a traceback)

if sys.argv[1:] != ["up"]:
    sys.exit("usage: [DATA_DIR=.data] [PORT=8000] [WORKERS=1] python -m devstack up")
sys.exit(up(os.environ))
