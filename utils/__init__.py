"""What the course's notebooks and command line call. Importing this package does nothing."""
