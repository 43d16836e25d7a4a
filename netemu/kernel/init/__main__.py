"""Where process 1 of a lab begins: run by its path, so that no other part of netemu is imported."""

import os
import sys

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __import__("init.server").server.main()
