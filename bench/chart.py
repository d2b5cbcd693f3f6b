"""A bar chart as SVG text."""
import html

LABEL, BAR, ROW, TOP, BOTTOM, NOTE = 250, 420, 30, 64, 46, 190


def chart(title, subtitle, rows, reference):
    """rows: (label, value, note). One bar each, from zero; a line marks the reference value."""
    top = max([reference, *(value for _, value, _ in rows)]) * 1.02
    height = TOP + ROW * len(rows) + BOTTOM
    width = LABEL + BAR + NOTE
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
           'font-family="sans-serif" font-size="13">',
           f"<title>{html.escape(title)}</title>", f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
           f'<text x="16" y="26" font-size="16" font-weight="bold" fill="#1d2733">{html.escape(title)}</text>',
           f'<text x="16" y="46" fill="#5b6773">{html.escape(subtitle)}</text>']
    for step in ticks(top):
        x = LABEL + BAR * step / top
        out.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{height - BOTTOM}" stroke="#e3e7eb"/>')
        out.append(f'<text x="{x:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle" fill="#5b6773">{step:g}</text>')
    for index, (label, value, note) in enumerate(rows):
        y = TOP + ROW * index
        length = BAR * value / top
        out.append(f'<text x="{LABEL - 10}" y="{y + 19}" text-anchor="end" fill="#1d2733">{html.escape(label)}</text>')
        out.append(f'<rect x="{LABEL}" y="{y + 5}" width="{length:.1f}" height="{ROW - 10}" rx="2" fill="#2f6fb4"/>')
        out.append(f'<text x="{LABEL + length + 6:.1f}" y="{y + 19}" fill="#1d2733">{value:.1f}'
                   f'<tspan fill="#5b6773" dx="8">{html.escape(note)}</tspan></text>')
    x = LABEL + BAR * reference / top
    out.append(f'<line x1="{x:.1f}" y1="{TOP - 4}" x2="{x:.1f}" y2="{height - BOTTOM}" stroke="#b4452f" stroke-width="1.5"/>')
    out.append("</svg>\n")
    return "\n".join(out)


def ticks(top):
    """Round numbers from zero up to top, five at least."""
    step = next(size for size in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1e9) if top / size < 9)
    return [step * index for index in range(int(top / step) + 1)]
