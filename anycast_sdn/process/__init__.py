"""The running controller: the OS-Ken application, connections of switches, signals, overload, stalls."""
