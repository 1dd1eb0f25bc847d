"""A run's main numbers as one SVG: small panels of bars, no library, readable on light and dark pages."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.results import Results

PANEL_WIDTH = 420
BAR_HEIGHT = 16
BAR_GAP = 6
LABEL_WIDTH = 96
VALUE_WIDTH = 96
TITLE_HEIGHT = 34
MARGIN = 20
COLUMNS = 2
COLOURS = {
    "gateway": "#d9742b",
    "gateway-2": "#e8a877",
    "gateway-2-apart": "#f2cdb0",
    "direct": "#9aa5b1",
    "floor": "#5d6d7e",
    "nginx": "#3f7f4f",
    "haproxy": "#3d6fa5",
}
OTHER_COLOUR = "#7c6a9c"


@dataclass(frozen=True, slots=True)
class Panel:
    """One number of all peers. `better` is the better end of the scale."""

    title: str
    row: str
    case: str
    metric: str
    unit: str
    better: str = "less is better"


PANELS = (
    Panel("2 KB request, 1 connection: p50", "small", "1 conn", "p50_us", "us"),
    Panel("2 KB request, 16 connections", "small", "16 conn", "rate", "req/s", "more is better"),
    Panel("150 KB request, 1 connection: p50", "agent", "1 conn", "p50_us", "us"),
    Panel("Time to first event: p50", "ttft", "small", "p50_us", "us"),
    Panel("64 streams without pause", "burst", "64 streams", "rate", "events/s", "more is better"),
    Panel("200 streams x 50/s: CPU an event", "paced", "200 x 50/s", "cpu_us", "us"),
    Panel("200 streams x 50/s: delay p99", "paced", "200 x 50/s", "p99_us", "us"),
    Panel("Memory, idle", "footprint", "process", "rss_idle_mb", "MB"),
)


def svg(results: Results) -> str:
    """All panels that have data, two beside each other. Without any: an empty picture."""
    drawn = [(panel, bars) for panel, bars in ((panel, _bars(results, panel)) for panel in PANELS) if bars]
    parts = []
    top = MARGIN
    for start in range(0, len(drawn), COLUMNS):
        line = drawn[start : start + COLUMNS]
        height = max(_height(len(bars)) for _, bars in line)
        for place, (panel, bars) in enumerate(line):
            parts.append(_panel(panel, bars, MARGIN + place * (PANEL_WIDTH + MARGIN), top))
        top += height + MARGIN
    width = COLUMNS * (PANEL_WIDTH + MARGIN) + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" viewBox="0 0 {width} {top}" '
        f'font-family="system-ui, sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{top}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """One peer's median with its lowest and highest round."""

    peer: str
    value: float
    low: float
    high: float


def _bars(results: Results, panel: Panel) -> list[Bar]:
    bars = []
    for peer in results.peers():
        rounds = results.rounds(panel.row, panel.case, peer, panel.metric)
        if rounds:
            bars.append(Bar(peer, rounds.median, rounds.low, rounds.high))
    return bars


def _height(bars: int) -> int:
    return TITLE_HEIGHT + bars * (BAR_HEIGHT + BAR_GAP)


def _panel(panel: Panel, bars: list[Bar], left: int, top: int) -> str:
    room = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH
    scale = room / (max(bar.high for bar in bars) or 1.0)
    parts = [
        f'<text x="{left}" y="{top + 12}" font-weight="600" fill="#1f2933">{escape(panel.title)}</text>',
        f'<text x="{left}" y="{top + 26}" font-size="10" fill="#616e7c">'
        f"{escape(panel.unit)}, {escape(panel.better)}</text>",
    ]
    for index, bar in enumerate(bars):
        y = top + TITLE_HEIGHT + index * (BAR_HEIGHT + BAR_GAP)
        parts.append(_bar(bar, left, y, scale))
    return "\n".join(parts)


def _bar(bar: Bar, left: int, y: int, scale: float) -> str:
    x = left + LABEL_WIDTH
    width = max(1.0, bar.value * scale)
    middle = y + BAR_HEIGHT / 2
    text = y + BAR_HEIGHT - 4
    colour = COLOURS.get(bar.peer, OTHER_COLOUR)
    digits = 0 if bar.value >= 100 else 1
    whisker = (
        f'<line x1="{x + bar.low * scale:.1f}" y1="{middle}" x2="{x + bar.high * scale:.1f}" y2="{middle}" '
        f'stroke="#1f2933"/>'
    )
    end = x + max(width, bar.high * scale) + 6
    return (
        f'<text x="{x - 6}" y="{text}" text-anchor="end" fill="#1f2933">{escape(bar.peer)}</text>'
        f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="2" fill="{colour}"/>'
        f"{whisker}"
        f'<text x="{end:.1f}" y="{text}" fill="#1f2933">{bar.value:,.{digits}f}</text>'
    )
