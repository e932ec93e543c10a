"""``python -m actors up``: the `calmops` command from a checkout that isn't installed, as `ray job submit` runs it."""

from calmops.cli.main import main

if __name__ == "__main__":
    main()
