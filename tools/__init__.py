"""What authors call: set-up, build, reset, doctor, bench."""
