"""Foundation: clock, errors, configuration, paths, sockets and metric names. Knows no request and no model."""
