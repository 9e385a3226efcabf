"""Python imports this first, in processes that tests start while there is a made-up GPU."""

import os
import sys
from pathlib import Path

if os.environ.get("ONEPASS_MADE_UP_GPU"):
    sys.path.append(str(Path(__file__).resolve().parents[3]))  # tests/, for those who import CuPy
    from proving.made_up_driver.installing import install

    install()
