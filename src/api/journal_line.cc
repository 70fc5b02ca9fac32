#include "api/journal_line.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

// A string; or where that is no UTF-8 the bytes as numbers.
std::string field(const json& entry, const char* name) {
  const auto found = entry.find(name);
  if (found == entry.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  std::string bytes;
  if (!found->is_array()) return bytes;
  for (const json& byte : *found)
    if (byte.is_number_unsigned()) bytes += static_cast<char>(byte.get<unsigned char>());
  return bytes;
}

}  // namespace

std::optional<std::string> kernel_line_of_journal(std::string_view line) {
  if (!line.starts_with("{\"")) return std::nullopt;
  const json entry = parse_json_text(line);
  if (!entry.is_object() || !entry.contains("MESSAGE")) return std::nullopt;
  if (field(entry, "_TRANSPORT") != "kernel") return "";
  std::string stamp = field(entry, "__REALTIME_TIMESTAMP");  // microseconds
  const bool is_number = std::ranges::all_of(stamp, [](char c) { return c >= '0' && c <= '9'; });
  if (stamp.size() <= 6 || !is_number) stamp = "0000000";
  stamp.insert(stamp.size() - 6, ".");
  const std::string host = field(entry, "_HOSTNAME");
  std::string text =
      stamp + " " + (host.empty() ? "-" : host) + " kernel: " + field(entry, "MESSAGE");
  std::ranges::replace(text, '\n', ' ');
  return text;
}

}  // namespace holdfast
