"""What every command needs of the system: paths, files, locks, deadlines, signals, the connection to Ray."""
