#include "apps/check_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "apps/commands/check_views.h"
#include "apps/commands/control_plane.h"
#include "apps/svg.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr double kWidth = 1000;
constexpr double kLeft = 10, kRight = 990;  // of the axis of a strip
constexpr std::size_t kMatrixMax = 64;      // nodes
constexpr std::size_t kRowsMax = 3000;

struct Point {
  std::string node, peer;  // peer: of a link
  double value = 0;
  bool failed = false;
};
// All newest values of one test.
struct Series {
  std::string unit;
  bool less_is_better = false;
  std::optional<double> threshold;  // of the newest result that has one
  std::vector<Point> points;
};

std::uint64_t number_of(const std::string& id) {
  return std::strtoull(id.c_str() + (id.empty() ? 0 : 1), nullptr, 10);
}

// "n2" before "n10".
bool in_order(const std::string& a, const std::string& b) {
  return number_of(a) < number_of(b);
}

class Report {
 public:
  Report(const json& runs, const json& nodes, const std::set<std::string>& only) : only_(only) {
    for (const json& node : nodes)
      if (text_at(node, "state") != "gone") members_.insert(text_at(node, "id"));
    std::vector<const json*> ordered;
    for (const json& run : runs) ordered.push_back(&run);
    std::sort(ordered.begin(), ordered.end(), [](const json* a, const json* b) {
      return in_order(text_at(*a, "id"), text_at(*b, "id"));
    });
    for (const json* run : ordered) add_run(*run);
  }

  std::string page() {
    std::string body = "<h1>Deep checks</h1>\n";
    body += "<p>What the newest deep checks found on each node, beside its peers.</p>\n";
    body += tiles();
    std::string strips, matrices;
    for (const auto& [test, series] : series_of())
      (series.points.front().peer.empty() ? strips : matrices) += section(test, series);
    if (!strips.empty())
      body +=
          "<h2>Nodes among their peers</h2>\n<p class=\"note\">A dot is a node; the dashed line "
          "is the threshold, the thin one the median. A node beyond the threshold is orange."
          "</p>\n" +
          strips;
    if (!matrices.empty())
      body +=
          "<h2>Links</h2>\n<p class=\"note\">Each two nodes that measured their link. The colour "
          "is the share of the median: a whole row of the same trouble is a node, a single "
          "field is a link.</p>\n" +
          matrices;
    body += "<h2>Every test</h2>\n" + table();
    return html_page("Deep checks", body);
  }

 private:
  void add_run(const json& run) {
    for (const json& member : list_at(run, "members"))
      if (at(member, "is_partner") != true)
        status_[text_at(member, "node")] = {text_at(member, "status"), text_at(member, "reason")};
    for (const json& result : list_at(run, "results")) {
      const std::string node = text_at(result, "node"), peer = text_at(result, "peer");
      auto ends =
          peer.empty() || in_order(node, peer) ? std::pair(node, peer) : std::pair(peer, node);
      newest_[{text_at(result, "test"), std::move(ends)}] = result;
    }
  }

  [[nodiscard]] bool is_shown(const std::string& node) const {
    return only_.empty() ? members_.contains(node) || has_failed(node) : only_.contains(node);
  }
  [[nodiscard]] bool has_failed(const std::string& node) const {
    const auto found = status_.find(node);
    return found != status_.end() && found->second.first == "Failed";
  }

  std::string tiles() const {
    std::size_t passed = 0, failed = 0, links = 0;
    std::string bad;
    for (const auto& [node, status] : status_) {
      if (status.first == "Passed") ++passed;
      if (status.first != "Failed") continue;
      ++failed;
      bad +=
          fmt::format("<li><b>{}</b>: {}</li>\n", html_escaped(node), html_escaped(status.second));
    }
    for (const auto& [key, result] : newest_)
      if (key.first == "link" && !key.second.second.empty()) ++links;
    const auto tile = [](std::size_t count, const char* label) {
      return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", count, label);
    };
    std::string out = "<div class=\"tiles\">\n" + tile(passed, "nodes passed") +
                      tile(failed, "nodes failed") + tile(links, "links measured") + "</div>\n";
    if (!bad.empty())
      out += "<div class=\"verdict bad\"><b>Failed:</b><ul>\n" + bad + "</ul></div>\n";
    return out;
  }

  std::map<std::string, Series> series_of() const {
    std::map<std::string, Series> all;
    for (const auto& [key, result] : newest_) {
      const std::string unit = text_at(result, "unit");
      if (unit.empty()) continue;
      Series& series = all[key.first];
      series.unit = unit;
      series.less_is_better = at(result, "less_is_better") == true;
      if (has(result, "threshold"))
        series.threshold = static_cast<double>(whole_at(result, "threshold")) / 1000;
      series.points.push_back({key.second.first, key.second.second,
                               static_cast<double>(whole_at(result, "value")) / 1000,
                               text_at(result, "verdict") == "Failed"});
    }
    return all;
  }

  std::string section(const std::string& test, const Series& series) const {
    std::vector<double> values;
    for (const Point& point : series.points) values.push_back(point.value);
    std::sort(values.begin(), values.end());
    const double median = values[values.size() / 2];
    const std::string threshold =
        series.threshold ? fmt::format(", passes {} {}", series.less_is_better ? "up to" : "from",
                                       shown(*series.threshold, series.unit))
                         : ", no threshold (fewer than 3 peers, and none is set)";
    return fmt::format(
               "<h3>{}</h3>\n<p class=\"note\">{} value(s), median {}{}; {} is better</p>\n",
               html_escaped(test), values.size(), html_escaped(shown(median, series.unit)),
               html_escaped(threshold), series.less_is_better ? "less" : "more") +
           "<div class=\"scroll\">" +
           (series.points.front().peer.empty() ? strip(test, series, median)
                                               : matrix(test, series, median)) +
           "</div>\n";
  }

  static std::string shown(double value, const std::string& unit) {
    return check_number(std::llround(value * 1000), unit);
  }

  // Dots on an axis; those that would cover each other stand one above the other.
  std::string strip(const std::string& test, const Series& series, double median) const {
    double most = median;
    for (const Point& point : series.points) most = std::max(most, point.value);
    if (series.threshold) most = std::max(most, *series.threshold);
    most = most > 0 ? most * 1.06 : 1;
    const auto x_of = [&](double value) { return kLeft + (kRight - kLeft) * value / most; };
    std::vector<Point> points = series.points;
    std::sort(points.begin(), points.end(),
              [](const Point& a, const Point& b) { return a.value < b.value; });
    std::vector<double> lanes;  // x of the last dot in each
    std::vector<std::size_t> lane_of;
    for (const Point& point : points) {
      const double x = x_of(point.value);
      std::size_t lane = 0;
      while (lane < lanes.size() && x - lanes[lane] < 12) ++lane;
      if (lane == lanes.size()) lanes.push_back(0);
      lanes[lane] = x;
      lane_of.push_back(lane);
    }
    const double floor = 34 + 12.0 * static_cast<double>(lanes.size());
    Svg svg(kWidth, floor + 26, "Each node's " + test + " among its peers");
    for (const double tick : round_ticks(0, most, 8)) {
      svg.line(x_of(tick), 14, x_of(tick), floor, "grid");
      svg.text(x_of(tick), floor + 17, fmt::format("{:g}", tick), "tick",
               tick == 0 ? Svg::Anchor::kStart : Svg::Anchor::kMiddle);
    }
    svg.line(kLeft, floor, kRight, floor, "axis");
    svg.line(x_of(median), 14, x_of(median), floor, "axis");
    if (series.threshold) {
      svg.line(x_of(*series.threshold), 14, x_of(*series.threshold), floor, "line2");
      svg.text(x_of(*series.threshold) + 4, 12, "threshold", "dim");
    }
    for (std::size_t i = 0; i < points.size(); ++i) {
      const Point& point = points[i];
      const bool named = only_.contains(point.node) || point.failed || points.size() <= 8;
      const double x = x_of(point.value), y = floor - 10 - 12.0 * static_cast<double>(lane_of[i]);
      svg.circle(x, y, only_.contains(point.node) ? 6.5 : 5,
                 point.failed                 ? "lost_work"
                 : only_.contains(point.node) ? "useful"
                                              : "dot",
                 point.node + ": " + shown(point.value, series.unit));
      if (named) svg.text(x + 8, y + 4, point.node, point.failed ? "" : "dim");
    }
    return std::move(svg).done();
  }

  static std::string_view shade(double share, bool failed) {
    if (failed) return "lost_work";
    return share >= 0.85 ? "useful" : share >= 0.6 ? "placement" : "detection";
  }

  std::string matrix(const std::string& test, const Series& series, double median) const {
    std::set<std::string, decltype(&in_order)> names(&in_order);
    for (const Point& point : series.points) {
      names.insert(point.node);
      names.insert(point.peer);
    }
    if (names.size() > kMatrixMax) return strip(test, series, median);
    std::map<std::string, std::size_t> place;
    for (const std::string& name : names) place.emplace(name, place.size());
    const double side = std::clamp(560.0 / static_cast<double>(names.size()), 14.0, 64.0);
    constexpr double kTop = 22, kEdge = 46;
    const double size = kTop + side * static_cast<double>(names.size());
    Svg svg(kWidth, size + 8, "Each link's " + test);
    for (const auto& [name, i] : place) {
      const double at = side * (static_cast<double>(i) + 0.5);
      svg.text(kEdge + at, kTop - 7, name, "tick", Svg::Anchor::kMiddle);
      svg.text(kEdge - 8, kTop + at + 4, name, "tick", Svg::Anchor::kEnd);
    }
    for (const Point& point : series.points) {
      const double share = series.less_is_better ? median / std::max(point.value, 1e-9)
                                                 : point.value / std::max(median, 1e-9);
      for (const auto& [row, column] : {std::pair(place[point.node], place[point.peer]),
                                        std::pair(place[point.peer], place[point.node])}) {
        const double x = kEdge + side * static_cast<double>(column);
        const double y = kTop + side * static_cast<double>(row);
        svg.rect(x + 1, y + 1, side - 2, side - 2, shade(share, point.failed),
                 fmt::format("{} - {}: {}, {:.0f} % of the median", point.node, point.peer,
                             shown(point.value, series.unit), share * 100));
        if (side >= 36)
          svg.text(x + side / 2, y + side / 2 + 4, fmt::format("{:.3g}", point.value),
                   share >= 0.85 || point.failed ? "inside" : "dark", Svg::Anchor::kMiddle);
      }
    }
    const double legend = kEdge + side * static_cast<double>(names.size()) + 24;
    double y = kTop + 10;
    for (const auto& [css, text] :
         {std::pair("useful", "85 % of the median or more"), std::pair("placement", "60 to 85 %"),
          std::pair("detection", "less, and within the threshold"),
          std::pair("lost_work", "failed")}) {
      svg.rect(legend, y - 10, 12, 12, css);
      svg.text(legend + 18, y, text, "dim");
      y += 20;
    }
    return std::move(svg).done();
  }

  std::string table() const {
    std::string out =
        "<div class=\"scroll\"><table><tr><th>node</th><th>test</th><th>verdict</th>"
        "<th class=\"n\">number</th><th class=\"n\">threshold</th><th class=\"n\">took</th>"
        "<th>why, and the end of its output</th></tr>\n";
    std::vector<const json*> rows;
    for (const auto& [key, result] : newest_)
      if (is_shown(key.second.first) || is_shown(key.second.second)) rows.push_back(&result);
    std::stable_sort(rows.begin(), rows.end(), [](const json* a, const json* b) {
      const auto rank = [](const json* row) {
        return std::tuple(text_at(*row, "verdict") != "Failed", number_of(text_at(*row, "node")));
      };
      return rank(a) < rank(b);
    });
    for (std::size_t i = 0; i < rows.size() && i < kRowsMax; ++i) out += row_of(*rows[i]);
    out += "</table></div>\n";
    if (rows.size() > kRowsMax)
      out += fmt::format("<p class=\"note\">and {} more</p>\n", rows.size() - kRowsMax);
    return out;
  }

  static std::string row_of(const json& result) {
    const std::string unit = text_at(result, "unit"), peer = text_at(result, "peer");
    const std::string verdict = text_at(result, "verdict");
    std::string why = html_escaped(text_at(result, "reason"));
    if (const std::string log = text_at(result, "log"); !log.empty())
      why += fmt::format("<details><summary>output</summary><pre><code>{}</code></pre></details>",
                         html_escaped(log));
    return fmt::format(
        "<tr><td>{}</td><td>{}</td><td><span class=\"key {}\"></span>{}</td><td class=\"n\">{}</td>"
        "<td class=\"n\">{}</td><td class=\"n\">{:.1f} s</td><td>{}</td></tr>\n",
        html_escaped(text_at(result, "node") + (peer.empty() ? "" : " - " + peer)),
        html_escaped(text_at(result, "test")),
        verdict == "Passed"   ? "useful"
        : verdict == "Failed" ? "lost_work"
                              : "idle",
        html_escaped(verdict), html_escaped(check_number(whole_at(result, "value"), unit)),
        has(result, "threshold") ? html_escaped(check_number(whole_at(result, "threshold"), unit))
                                 : "-",
        static_cast<double>(whole_at(result, "took_ns")) / 1e9, why);
  }

  const std::set<std::string>& only_;
  std::set<std::string> members_;
  std::map<std::string, std::pair<std::string, std::string>> status_;  // of a node, and why
  std::map<std::pair<std::string, std::pair<std::string, std::string>>, json> newest_;
};

}  // namespace

std::string check_report_page(const json& runs, const json& nodes,
                              const std::set<std::string>& only) {
  return Report(runs, nodes, only).page();
}

}  // namespace holdfast
