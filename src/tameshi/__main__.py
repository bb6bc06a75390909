"""`python -m tameshi` is `tameshi`."""

from tameshi.cli import main

if __name__ == "__main__":
    main()
