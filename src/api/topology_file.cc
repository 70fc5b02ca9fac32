#include "api/topology_file.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <set>
#include <utility>

namespace holdfast {
namespace {

constexpr std::size_t kHostsMax = 100'000;
constexpr std::string_view kBlanks = " \t\r";

Error bad(const std::string& what) {
  return {Errc::kInvalidField, what};
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 255 && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_';
  });
}

// Parts that commas divide, but for those in brackets.
std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  std::size_t from = 0;
  bool is_inside = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '[') is_inside = true;
    if (text[i] == ']') is_inside = false;
    if (text[i] != ',' || is_inside) continue;
    parts.push_back(text.substr(from, i - from));
    from = i + 1;
  }
  parts.push_back(text.substr(from));
  return parts;
}

// "7", "01-16": numbers, with as many digits as the first one has.
Result<std::vector<std::string>> range_of(std::string_view text) {
  const auto number = [](std::string_view digits) -> Result<std::uint32_t> {
    std::uint32_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc() || stop != end || digits.size() > 9)
      return bad("'" + std::string(digits.substr(0, 40)) + "' is no number of at most 9 digits");
    return value;
  };
  const std::size_t dash = text.find('-');
  const std::string_view low = text.substr(0, dash);
  HF_TRY(const std::uint32_t first, number(low));
  std::uint32_t last = first;
  if (dash != text.npos) {
    HF_TRY(last, number(text.substr(dash + 1)));
  }
  if (last < first || last - first >= kHostsMax)
    return bad("'" + std::string(text) + "' is no range of at most 100,000 numbers upwards");
  std::vector<std::string> numbers;
  for (std::uint32_t n = first; n <= last; ++n) {
    std::string digits = std::to_string(n);
    if (digits.size() < low.size()) digits.insert(0, low.size() - digits.size(), '0');
    numbers.push_back(std::move(digits));
  }
  return numbers;
}

Result<std::vector<std::string>> expand_one(std::string_view text) {
  std::vector<std::string> names{""};
  while (!text.empty()) {
    const std::size_t open = text.find('[');
    for (std::string& name : names) name += text.substr(0, open);
    if (open == text.npos) break;
    const std::size_t close = text.find(']', open);
    if (close == text.npos) return bad("a '[' without its ']'");
    std::vector<std::string> numbers;
    for (const std::string_view part : parts_of(text.substr(open + 1, close - open - 1))) {
      HF_TRY(const auto more, range_of(part));
      numbers.insert(numbers.end(), more.begin(), more.end());
      if (numbers.size() * names.size() > kHostsMax) return bad("more than 100,000 names");
    }
    std::vector<std::string> longer;
    for (const std::string& name : names)
      for (const std::string& digits : numbers) longer.push_back(name + digits);
    names = std::move(longer);
    text.remove_prefix(close + 1);
  }
  return names;
}

bool is_key(std::string_view text, std::string_view key) {
  return std::ranges::equal(text, key, [](unsigned char a, unsigned char b) {
    return std::tolower(a) == std::tolower(b);
  });
}

struct Reader {
  Topology hosts;
  std::map<std::string, std::string> above;  // by switch that is named below another one
  std::set<std::string> switches;

  Result<void> read(std::string_view line) {
    std::string name;
    std::vector<std::string> nodes, below;
    for (std::size_t at = 0; (at = line.find_first_not_of(kBlanks, at)) != line.npos;) {
      const std::size_t end = std::min(line.find_first_of(kBlanks, at), line.size());
      const std::string_view word = line.substr(at, end - at);
      at = end;
      const std::size_t equals = word.find('=');
      const std::string_view key = word.substr(0, equals);
      const std::string_view value = equals == word.npos ? "" : word.substr(equals + 1);
      if (is_key(key, "LinkSpeed") && !value.empty()) continue;
      if (is_key(key, "SwitchName") && is_name(value)) {
        name = value;
      } else if (is_key(key, "Nodes")) {
        HF_TRY(nodes, expand_hostlist(value));
      } else if (is_key(key, "Switches")) {
        HF_TRY(below, expand_hostlist(value));
      } else {
        return bad("'" + std::string(word.substr(0, 100)) +
                   "' is not understood; give SwitchName=NAME with Nodes=LIST or Switches=LIST");
      }
    }
    if (name.empty() || nodes.empty() == below.empty())
      return bad("give SwitchName=NAME with either Nodes=LIST or Switches=LIST");
    if (!switches.insert(name).second) return bad("switch '" + name + "' is there already");
    for (const std::string& node : nodes)
      if (!hosts.try_emplace(node, Location{.rack = name, .host = node}).second)
        return bad("node '" + node + "' hangs on switch '" + hosts[node].rack + "' already");
    for (const std::string& one : below)
      if (one == name || !above.try_emplace(one, name).second)
        return bad("switch '" + one + "' is below '" + (one == name ? one : above[one]) +
                   "' already");
    if (hosts.size() > kHostsMax) return bad("more than 100,000 nodes");
    return {};
  }
};

}  // namespace

Result<std::vector<std::string>> expand_hostlist(std::string_view text) {
  std::vector<std::string> names;
  for (const std::string_view part : parts_of(text)) {
    HF_TRY(std::vector<std::string> more, expand_one(part));
    if (names.size() + more.size() > kHostsMax) return bad("more than 100,000 names");
    for (std::string& name : more) {
      if (!is_name(name))
        return bad("'" + name.substr(0, 100) +
                   "' is no name; letters, digits, '.', '-' and '_' make one");
      names.push_back(std::move(name));
    }
  }
  return names;
}

Result<Topology> parse_topology_file(std::string_view text, const std::string& file) {
  Reader reader;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, std::min(text.find('#'), end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.find_first_not_of(kBlanks) == line.npos) continue;
    if (const Result<void> read = reader.read(line); !read.ok())
      return Error{read.error().code,
                   file + ":" + std::to_string(number) + ": " + read.error().detail};
  }
  for (const auto& [below, name] : reader.above)
    if (!reader.switches.contains(below))
      return bad(file + ": switch '" + below + "', below '" + name + "', has no line of its own");
  for (auto& [host, location] : reader.hosts)
    if (const auto spine = reader.above.find(location.rack); spine != reader.above.end())
      location.spine = spine->second;
  return std::move(reader.hosts);
}

Location located(Location known, const Topology& topology) {
  if (!known.spine.empty() || !known.rack.empty()) return known;
  auto found = topology.find(known.host);
  if (found == topology.end())
    found = topology.find(std::string_view(known.host).substr(0, known.host.find('.')));
  if (found == topology.end()) return known;
  known.spine = found->second.spine;
  known.rack = found->second.rack;
  return known;
}

}  // namespace holdfast
