"""Programs: everything that prints, opens windows and returns exit codes."""
