#include "apps/scenarios.h"

#include <algorithm>

#include "api/strict_fields.h"
#include "io/files.h"
#include "sim/scenario_file.h"

namespace holdfast {
namespace {

constexpr std::size_t kTextMax = 1 << 20;
constexpr std::string_view kSuffix = ".yaml";

std::string stem(std::string_view path) {
  return std::string(path.substr(0, path.size() - kSuffix.size()));
}

}  // namespace

std::vector<std::string> scenario_names() {
  std::vector<std::string> names;
  for (const EmbeddedFile& file : scenario_files()) names.push_back(stem(file.path));
  std::ranges::sort(names);
  return names;
}

Result<sim::Scenario> load_scenario(const std::string& name_or_path) {
  for (const EmbeddedFile& file : scenario_files())
    if (stem(file.path) == name_or_path)
      return sim::parse_scenario(file.content, std::string(file.path));
  if (name_or_path.find('/') != name_or_path.npos || name_or_path.ends_with(kSuffix)) {
    HF_TRY(const std::string text, read_file(name_or_path, kTextMax));
    return sim::parse_scenario(text, name_or_path);
  }
  const std::vector<std::string> names = scenario_names();
  const std::string_view close = closest_word(name_or_path, {names.begin(), names.end()});
  return Error{Errc::kNotFound,
               "no scenario `" + name_or_path + "`; " +
                   (close.empty() ? "`holdfast sim list` shows them, or give a file's path"
                                  : "did you mean `" + std::string(close) + "`?")};
}

}  // namespace holdfast
