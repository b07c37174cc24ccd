"""python -m flows: the command `bfr`."""

from flows.cli import main

if __name__ == "__main__":
    main()
