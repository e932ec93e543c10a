"""Foundation holds clocks, errors, configuration, paths, sockets and metric names. It knows no request and no model."""
