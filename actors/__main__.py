"""``python -m actors up`` runs the `calmops` command from a checkout that isn't installed, as `ray job submit` does."""

from calmops.cli.main import main

if __name__ == "__main__":
    main()
