#include "apps/svg.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace holdfast {
namespace {

// Okabe and Ito, "Color Universal Design" (2008); yellow darker on white, blue lighter on black.
constexpr std::string_view kStyle = R"css(
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c1e21; --dim: #5b6066; --rule: #d9dce0; --card: #f5f6f8;
  --useful: #009e73; --lost_work: #d55e00; --detection: #e69f00; --placement: #56b4e9;
  --restart: #0072b2; --restore: #cc79a7; --checkpoint_stall: #c7b816; --waiting_for_nodes: #7a4a1f;
  --idle: #b9bdc3; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --ink: #e8e9eb; --dim: #9aa0a8; --rule: #34383e; --card: #1f2226;
    --useful: #12b886; --lost_work: #e8702a; --restart: #3b95d6; --checkpoint_stall: #f0e442;
    --waiting_for_nodes: #b98250; --idle: #5d636b; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
       font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; }
h2 { font-size: 18px; margin: 40px 0 4px; }
p { margin: 4px 0 10px; max-width: 76ch; }
p.note, .note { color: var(--dim); font-size: 13.5px; }
code { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px;
         margin: 18px 0 6px; }
.tile { background: var(--card); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 22px; font-weight: 600; }
.tile span { color: var(--dim); font-size: 13px; }
.verdict, p.verdict { max-width: none; border-left: 4px solid var(--useful); padding: 6px 12px;
                      background: var(--card); }
.verdict.bad { border-color: var(--bad); }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 720px; height: auto; }
svg text { font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
svg text.dim, svg text.tick { fill: var(--dim); }
svg text.inside { fill: #ffffff; font-weight: 600; }
svg text.dark { fill: #1c1e21; font-weight: 600; }
svg .grid { stroke: var(--rule); stroke-width: 1; fill: none; }
svg .axis { stroke: var(--dim); stroke-width: 1; fill: none; }
svg .line { stroke: var(--restart); stroke-width: 2; fill: none; stroke-linejoin: round; }
svg .line2 { stroke: var(--lost_work); stroke-width: 2; fill: none; stroke-dasharray: 6 4; }
svg .area { fill: var(--useful); fill-opacity: .22; }
svg .hit { fill: transparent; }
svg .wedge { fill: var(--card); }
svg .edge { stroke: var(--useful); stroke-width: 1.5; fill: none; }
svg .spares { fill: var(--placement); fill-opacity: .55; shape-rendering: crispEdges; }
svg .mark { stroke: var(--lost_work); stroke-width: 1; stroke-opacity: .55; }
svg .dot { fill: var(--restart); }
svg .dot2 { fill: var(--paper); stroke: var(--lost_work); stroke-width: 2; }
svg .best { stroke: var(--useful); stroke-width: 1.5; stroke-dasharray: 3 3; fill: none; }
.useful { fill: var(--useful); background: var(--useful); }
.lost_work { fill: var(--lost_work); background: var(--lost_work); }
.detection, .noticed { fill: var(--detection); background: var(--detection); }
.placement, .drained { fill: var(--placement); background: var(--placement); }
.restart, .started { fill: var(--restart); background: var(--restart); }
.restore, .restored { fill: var(--restore); background: var(--restore); }
.checkpoint_stall, .decided { fill: var(--checkpoint_stall); background: var(--checkpoint_stall); }
.waiting_for_nodes, .open { fill: var(--waiting_for_nodes); background: var(--waiting_for_nodes); }
.first_step { fill: var(--useful); background: var(--useful); }
.idle { fill: var(--idle); background: var(--idle); }
.rest { fill: var(--dim); }
table { border-collapse: collapse; font-size: 13.5px; margin: 8px 0; }
th, td { text-align: left; padding: 3px 16px 3px 0; vertical-align: top; }
th { color: var(--dim); font-weight: 500; border-bottom: 1px solid var(--rule); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tr + tr td { border-top: 1px solid var(--rule); }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 7px;
       vertical-align: -1px; }
.legend { font-size: 13px; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 6px 0; }
details { margin: 8px 0; }
summary { cursor: pointer; color: var(--dim); }
)css";

std::string hover_of(std::string_view hover) {
  return hover.empty() ? "" : "<title>" + html_escaped(hover) + "</title>";
}

}  // namespace

std::string html_escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string html_page(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</"
      "html>\n",
      html_escaped(title), kStyle, body);
}

std::vector<double> round_ticks(double low, double high, int about) {
  if (!(high > low) || about < 1) return {low};
  const double rough = (high - low) / about;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0})
    if (factor * power >= rough * 0.999) step = factor * power;
  std::vector<double> ticks;
  const double first = std::ceil(low / step - 1e-9);
  for (double n = first; n * step <= high + step * 1e-6; ++n) ticks.push_back(n * step + 0.0);
  return ticks;
}

std::vector<Duration> round_time_ticks(Duration end, std::size_t most) {
  constexpr std::int64_t kSteps[] = {1,       2,       5,       10,        20,       30,
                                     60,      120,     300,     600,       900,      1800,
                                     3600,    7200,    10'800,  21'600,    43'200,   86'400,
                                     172'800, 432'000, 604'800, 1'209'600, 2'592'000};
  // Below a few seconds in tenths.
  Duration step = milliseconds(100);
  for (const std::int64_t ms : {100, 200, 500})
    if (static_cast<std::size_t>(end.ns / step.ns) > most) step = milliseconds(ms);
  for (const std::int64_t s : kSteps)
    if (static_cast<std::size_t>(end.ns / step.ns) > most) step = seconds(s);
  while (static_cast<std::size_t>(end.ns / step.ns) > most) step = step * 2;
  std::vector<Duration> ticks;
  for (Duration at; at <= end; at = at + step) ticks.push_back(at);
  return ticks;
}

std::string tick_text(Duration at) {
  const std::int64_t ms = at.ms();
  const std::int64_t s = ms / 1000;
  if (ms % 1000 != 0) return fmt::format("{}.{} s", s, ms % 1000 / 100);
  if (s < 60 || (s < 120 && s % 60 != 0)) return fmt::format("{} s", s);
  if (s < 7200) return s % 60 == 0 ? fmt::format("{} min", s / 60) : fmt::format("{} s", s);
  if (s < 172'800) return fmt::format("{} h", s / 3600);
  return s % 86'400 == 0 ? fmt::format("day {}", s / 86'400) : fmt::format("{} h", s / 3600);
}

double text_width(std::string_view text) {
  const auto letters = std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  });
  return 6.9 * static_cast<double>(letters);
}

Svg::Svg(double width, double height, std::string_view description)
    : out_(fmt::format("<div class=\"scroll\"><svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" "
                       "aria-label=\"{}\">\n",
                       width, height, html_escaped(description))) {}

void Svg::rect(double x, double y, double width, double height, std::string_view css,
               std::string_view hover) {
  out_ += fmt::format(
      "<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\" class=\"{}\">{}</rect>\n",
      x, y, std::max(width, 0.0), height, css, hover_of(hover));
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view css) {
  out_ +=
      fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n",
                  x1, y1, x2, y2, css);
}

void Svg::text(double x, double y, std::string_view text, std::string_view css, Anchor anchor) {
  constexpr std::string_view kAnchors[] = {"start", "middle", "end"};
  out_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\" text-anchor=\"{}\">{}</text>\n",
                      x, y, css, kAnchors[static_cast<std::size_t>(anchor)], html_escaped(text));
}

void Svg::path(std::string_view path, std::string_view css, std::string_view hover) {
  out_ += fmt::format("<path d=\"{}\" class=\"{}\">{}</path>\n", path, css, hover_of(hover));
}

void Svg::circle(double x, double y, double radius, std::string_view css, std::string_view hover) {
  out_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" class=\"{}\">{}</circle>\n",
                      x, y, radius, css, hover_of(hover));
}

std::string Svg::done() && {
  return std::move(out_) + "</svg></div>\n";
}

}  // namespace holdfast
