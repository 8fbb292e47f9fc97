"""Where the command begins, as ``anycast-sdn`` and as ``python -m anycast_sdn``.

Ctrl-C ends it without a traceback, also while the command line is being imported, which takes a tenth of a second.  So
nothing else is imported here.
"""

import sys

INTERRUPTED = 130  # the exit status of a command that SIGINT has ended, as shells report it


def main() -> int:
    """Carries out the command → the exit status that --help describes."""
    try:
        from anycast_sdn.cli import main as command_line

        return command_line.main()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
