"""What makes a running controller of it: the OS-Ken application, signals, overload, the look at itself."""
