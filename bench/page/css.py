"""How the page looks: light and dark, narrow and wide, on paper.

Fonts are the reader's own, so that nothing is fetched.
"""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fcfcfa; --soft: #5c5c5c;
  --line: #d9d9d4; --link: #0b57a4; --miss: #a33c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e2; --paper: #17181a; --soft: #a5a5a0;
  --line: #3a3b3e; --link: #86b9f0; --miss: #ff9d66; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 54rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p, dd, li { max-width: 44rem; overflow-wrap: anywhere; }
dt { font-weight: 600; } dd { margin: 0 0 .6rem; }
a { color: var(--link); }
nav ul { columns: 16rem; padding-left: 1.1rem; }
.soft, figcaption { color: var(--soft); font-size: .92rem; }
.miss { color: var(--miss); font-weight: 600; }
figure { margin: 1.6rem 0 .4rem; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: .6rem;
  overflow-x: auto; }
.card svg { display: block; width: 100%; min-width: 27rem; height: auto; margin: 0 auto; }
.card svg * { stroke-linejoin: round; stroke-linecap: butt; }
figcaption { margin-top: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .7rem .22rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid var(--line); font-weight: 600; }
td + td, th + th { padding-left: .3rem; }
.number { text-align: right; white-space: nowrap; }
details { margin: 0 0 1rem; } summary { cursor: pointer; color: var(--link); font-size: .92rem; }
@media print { body { background: #fff; color: #000; font-size: 10pt; } main { max-width: none; }
  figure { break-inside: avoid; } .card { border: 0; padding: 0; } nav { display: none; }
  .card svg { min-width: 0; max-height: 24cm; } h2, h3 { break-after: avoid; } }
"""
"""Of the whole page, as it stands in its head. Plots stay black on white in the dark too."""
