"""What is compiled for CPUs; knows arrays alone."""
