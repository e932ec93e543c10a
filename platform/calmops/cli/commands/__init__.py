"""Each module here adds one command or one group of commands."""
