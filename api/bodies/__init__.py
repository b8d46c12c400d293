"""How a request's body is obtained: in time, decoded, and with a bound on what all of them hold together."""
