"""Messages: one record file per hop of a token's way. Types only; nothing here decides."""
