"""`python -m netemu`."""

from netemu.cli.main import main

if __name__ == "__main__":
    main()
