"""``python -m runnerstone``: the command."""

from runnerstone.cli import main

if __name__ == "__main__":
    main()
