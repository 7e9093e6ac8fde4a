"""Settings modules as projects have them. They are read, and never imported."""
