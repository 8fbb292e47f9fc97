"""Metrics as text: the formats of Prometheus and OpenMetrics, by ``prometheus_client``, in pieces.

``prometheus_client`` writes a whole answer at once, which at 10,000 servers would hold the hub for a good part of a
second.  So it gets a few values of one row at a time, and others have a turn between two pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from prometheus_client import Metric as PrometheusMetric
from prometheus_client import ProcessCollector
from prometheus_client.exposition import choose_encoder

from anycast_sdn.control.controller import Controller
from anycast_sdn.views.metrics import METRICS, PREFIX, Family, Metric
from anycast_sdn.views.scrape import Process, Scrape

PIECE = 20  # values: of histograms, each of them has 15 lines
_OPEN = "application/openmetrics-text; version=1.0.0"
_VERSIONS = frozenset({"0.0.1", "0.0.4", "1.0.0"})
_END = b"# EOF\n"  # of OpenMetrics
_PROCESS = ProcessCollector(registry=None)  # of this process, under the names that all exporters have: process_…


class _One:
    """A registry of one family."""

    def __init__(self, family: Family | PrometheusMetric) -> None:
        self._family = family

    def collect(self) -> Iterable[Family | PrometheusMetric]:
        return [self._family]


def exposition(
    controller: Controller, process: Process, accept: str, now: float, turn: Callable[[], None]
) -> tuple[str, list[bytes]]:
    """→ (media type, the text in chunks).  ``accept``: the media types that the scraper takes."""
    encode, media_type = _encoder(accept)
    scrape = Scrape(controller, process, now, turn)
    pieces: list[bytes] = []
    is_open = "openmetrics" in media_type
    for rows in METRICS.values():
        for row in rows:
            pieces += _written(row, scrape, encode)
    pieces += (encode(_One(family)).removesuffix(_END) for family in _PROCESS.collect())
    return media_type, [*pieces, _END] if is_open else pieces


def _encoder(accept: str) -> tuple[Callable[[Any], bytes], str]:
    """As ``choose_encoder``, which fails at a version that is no number, and says to write any that is asked for."""
    try:
        encode, media_type = choose_encoder(accept)
    except (ValueError, TypeError, LookupError, AttributeError):
        encode, media_type = choose_encoder(_OPEN if "openmetrics" in accept else "")
    if _version(media_type) not in _VERSIONS:
        return choose_encoder(_OPEN if "openmetrics" in media_type else "")
    return encode, media_type


def _version(media_type: str) -> str:
    return media_type.partition("version=")[2].partition(";")[0].strip()


def _written(row: Metric, scrape: Scrape, encode: Callable[[Any], bytes]) -> Iterator[bytes]:
    values = iter(row.values_of(scrape))
    is_first = True
    while some := list(islice(values, PIECE)):
        family = row.type(PREFIX + row.name, row.help, labels=row.labels)
        add: Callable[..., None] = family.add_metric
        for labels, value in some:
            add(labels, *(value if isinstance(value, tuple) else (value,)))
        text = encode(_One(family)).removesuffix(_END)
        yield text if is_first else _without_head(text)
        is_first = False
        scrape.turn()


def _without_head(text: bytes) -> bytes:
    """The head of a family, its help, type and unit, stands before its first value alone."""
    while text.startswith(b"#"):
        text = text.partition(b"\n")[2]
    return text
