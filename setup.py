"""What setup.cfg cannot say.

- Beside the packages that are found, topologies/ is one.  So a wheel holds the network files as
  ``anycast_sdn.topologies``, and in the repository they stand where people look for them.
- The papers and the services of systemd are installed, in share/doc/anycast-sdn of the environment.
- A package index shows README.md alone.  Its links to other files would lead nowhere there, so it names the files, and
  its pictures are left out.

Everything else is in setup.cfg.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
DOC = "share/doc/anycast-sdn"


def for_an_index(readme: str) -> str:
    """README.md with the names of files in the place of links to them."""
    pictureless = re.sub(r"!\[[^\]]+\]\((?!https?:)[^)]+\)\n+", "", readme)
    named = re.sub(r"\[([^\]]+)\]\((?!https?:)([^)#]+)[^)]*\)", r"\1 (`\2`)", pictureless)
    return f"{named}\nFiles that are named here are in the source distribution; papers are installed in `{DOC}`, too.\n"


def papers(folder: str, names: str = "*.md") -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob(names))


if __name__ == "__main__":
    setup(
        packages=[*find_packages(include=["anycast_sdn*"]), "anycast_sdn.topologies"],
        long_description=for_an_index((ROOT / "README.md").read_text(encoding="utf-8")),
        data_files=[
            (DOC, papers(".")),
            (f"{DOC}/docs", papers("docs")),
            (f"{DOC}/contrib/systemd", papers("contrib/systemd", "*.service")),
            (f"{DOC}/contrib/cluster", papers("contrib/cluster", "*")),
        ],
    )
