"""The tests read no `.env`: what they find must not depend on whose folder they run in. Children inherit that."""

import os

os.environ["ENV_FILE"] = ""
