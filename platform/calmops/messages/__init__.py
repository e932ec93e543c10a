"""Messages define the records that cross each hop of a token's way, one file per hop. Nothing here decides."""
