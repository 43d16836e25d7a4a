"""Where process 1 of a lab begins: run by its path, so that no other part of netemu is imported."""

import os
import sys
from importlib import import_module

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import_module("init.server").main()
