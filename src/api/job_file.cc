#include "api/job_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include <yaml-cpp/yaml.h>
#include <nlohmann/json.hpp>

namespace holdfast {
namespace {

constexpr std::size_t kTextMax = 1 << 20;
constexpr int kDepthMax = 6;
// Aliases make a small YAML file into a tree without end; nobody's job has this many values.
constexpr std::size_t kValuesMax = 10'000;
constexpr std::uint64_t kMemoryLimitMin = 16ull << 20;

// YAML and JSON alike.
struct Value {
  enum class Kind { kNothing, kScalar, kList, kMap };
  Kind kind = Kind::kNothing;
  std::string text;     // kScalar
  bool quoted = false;  // kScalar: text for certain, never a number
  int line = 0;         // 0: unknown
  std::vector<Value> items;
  std::vector<std::pair<std::string, Value>> fields;
};

std::string shown(const Value& value) {
  switch (value.kind) {
    case Value::Kind::kNothing:
      return "nothing";
    case Value::Kind::kList:
      return "a list";
    case Value::Kind::kMap:
      return "a map";
    case Value::Kind::kScalar:
      break;
  }
  return "'" + (value.text.size() > 60 ? value.text.substr(0, 60) + "..." : value.text) + "'";
}

class TreeBuilder {
 public:
  explicit TreeBuilder(std::string file) : file_(std::move(file)) {}

  Result<Value> build(const YAML::Node& node, int depth = 0) {
    const int line = node.Mark().is_null() ? 1 : node.Mark().line + 1;
    HF_TRY_VOID(count(line, depth));
    Value value;
    value.line = line;
    if (node.IsScalar()) {
      value.kind = Value::Kind::kScalar;
      value.text = node.Scalar();
      value.quoted = node.Tag() == "!";
    } else if (node.IsSequence()) {
      value.kind = Value::Kind::kList;
      for (const auto& item : node) {
        HF_TRY(Value child, build(item, depth + 1));
        value.items.push_back(std::move(child));
      }
    } else if (node.IsMap()) {
      value.kind = Value::Kind::kMap;
      for (const auto& field : node) {
        if (!field.first.IsScalar())
          return at(line, "a key is not a word; write `key: value` pairs");
        HF_TRY(Value child, build(field.second, depth + 1));
        // The parser places what is missing where the next thing begins.
        if (child.kind == Value::Kind::kNothing) child.line = field.first.Mark().line + 1;
        value.fields.emplace_back(field.first.Scalar(), std::move(child));
      }
    }
    return value;
  }

  Result<Value> build(const nlohmann::json& json, int depth = 0) {
    HF_TRY_VOID(count(0, depth));
    Value value;
    if (json.is_array()) {
      value.kind = Value::Kind::kList;
      for (const auto& item : json) {
        HF_TRY(Value child, build(item, depth + 1));
        value.items.push_back(std::move(child));
      }
    } else if (json.is_object()) {
      value.kind = Value::Kind::kMap;
      for (const auto& [key, field] : json.items()) {
        HF_TRY(Value child, build(field, depth + 1));
        value.fields.emplace_back(key, std::move(child));
      }
    } else if (!json.is_null()) {
      value.kind = Value::Kind::kScalar;
      value.quoted = json.is_string();
      value.text = value.quoted ? json.get<std::string>() : json.dump();
    }
    return value;
  }

 private:
  Error at(int line, const std::string& what) const {
    return {Errc::kUnparsable,
            (file_.empty() ? "" : file_ + ":" + std::to_string(line) + ": ") + what};
  }
  Result<void> count(int line, int depth) {
    if (depth > kDepthMax) return at(line, "nested too deep; a job has at most two levels");
    if (++values_ > kValuesMax) return at(line, "more than 10000 values; a job has a few dozen");
    return {};
  }

  std::string file_;
  std::size_t values_ = 0;
};

// Fills a JobSpec from a tree. Types are judged here, ranges in check_job_spec(). The first error
// is kept and ends the reading.
class SpecReader {
 public:
  SpecReader(std::string file, std::string folder)
      : file_(std::move(file)), folder_(std::move(folder)) {}

  Result<JobSpec> read(const Value& root) {
    spec_.working_folder = folder_;
    lines_[""] = root.line;
    read_root(root);
    if (error_) return *error_;
    if (auto checked = check_job_spec(spec_); !checked.ok()) {
      const std::string& detail = checked.error().detail;
      const auto line = lines_.find(detail.substr(0, detail.find(':')));
      const int known = line != lines_.end() ? line->second : lines_[""];
      return Error{checked.error().code, place(known) + detail};
    }
    return spec_;
  }

 private:
  using Read = std::function<void(const Value&, const std::string&)>;
  struct Field {
    std::string_view name;
    Read read;
  };

  void read_root(const Value& root) {
    read_fields(
        root, "",
        {{"name", text_into(spec_.name)},
         {"owner", text_into(spec_.owner)},
         {"team", text_into(spec_.team)},
         {"nodes", [this](auto& value, auto& path) { read_nodes(value, path); }},
         {"ranks_per_node", count_into(spec_.ranks_per_node)},
         {"command", [this](auto& value, auto& path) { read_command(value, path); }},
         {"environment", [this](auto& value, auto& path) { read_environment(value, path); }},
         {"working_folder", folder_into(spec_.working_folder)},
         {"checkpoint", [this](auto& value, auto& path) { read_checkpoint(value, path); }},
         {"retry",
          [this](auto& value, auto& path) {
            read_fields(value, path,
                        {{"attempts_without_progress_max",
                          count_into(spec_.retry.attempts_without_progress_max)}});
          }},
         {"hang",
          [this](auto& value, auto& path) {
            read_fields(value, path,
                        {{"stall_s", seconds_into(spec_.hang.stall_min)},
                         {"stall_factor", count_into(spec_.hang.stall_factor)}});
          }},
         {"memory_limit", bytes_into(spec_.memory_limit_bytes)},
         {"request_token", text_into(spec_.request_token)}});
  }

  std::string place(int line) const {
    return file_.empty() ? "" : file_ + ":" + std::to_string(line) + ": ";
  }
  void fail(Errc code, const Value& value, const std::string& path, const std::string& what) {
    if (!error_) error_ = Error{code, place(value.line) + path + ": " + what};
  }
  void wrong_type(const Value& value, const std::string& path, const std::string& remedy) {
    fail(Errc::kInvalidField, value, path, shown(value) + " is not allowed; " + remedy);
  }

  void read_fields(const Value& map, const std::string& path, const std::vector<Field>& known) {
    if (error_) return;
    std::vector<std::string_view> names;
    for (const Field& field : known) names.push_back(field.name);
    if (map.kind != Value::Kind::kMap)
      return wrong_type(map, path.empty() ? "job" : path,
                        "give `key: value` pairs, with the keys " + joined(names));
    for (const auto& [key, value] : map.fields) {
      const std::string child = path.empty() ? key : path + "." + key;
      const auto field = std::ranges::find(known, key, &Field::name);
      if (field == known.end()) {
        const std::string_view close = closest_word(key, names);
        return fail(
            Errc::kUnknownField, value, child,
            "no such field; " + (close.empty() ? "there are " + joined(names)
                                               : "did you mean " + std::string(close) + "?"));
      }
      if (!lines_.emplace(child, value.line).second)
        return fail(Errc::kInvalidField, value, child, "given twice; remove one");
      field->read(value, child);
      if (error_) return;
    }
  }

  static std::string joined(const std::vector<std::string_view>& names) {
    std::string all;
    for (std::string_view name : names) all += (all.empty() ? "" : ", ") + std::string(name);
    return all;
  }

  Read text_into(std::string& out) {
    return [this, &out](const Value& value, const std::string& path) {
      if (value.kind != Value::Kind::kScalar) return wrong_type(value, path, "give a text");
      out = value.text;
    };
  }

  Read count_into(std::uint32_t& out) {
    return [this, &out](const Value& value, const std::string& path) {
      const char* end = value.text.data() + value.text.size();
      const auto parsed = std::from_chars(value.text.data(), end, out);
      if (value.kind != Value::Kind::kScalar || value.quoted || parsed.ec != std::errc() ||
          parsed.ptr != end)
        wrong_type(value, path, "give a whole number");
    };
  }

  Read seconds_into(Duration& out) {
    return [this, &out](const Value& value, const std::string& path) {
      double seconds = 0;
      const char* end = value.text.data() + value.text.size();
      const auto parsed = std::from_chars(value.text.data(), end, seconds);
      if (value.kind != Value::Kind::kScalar || value.quoted || parsed.ec != std::errc() ||
          parsed.ptr != end || !(std::abs(seconds) < 1e9))
        return wrong_type(value, path, "give a number of seconds");
      out = milliseconds(std::llround(seconds * 1000));
    };
  }

  Read bytes_into(std::uint64_t& out) {
    return [this, &out](const Value& value, const std::string& path) {
      if (value.kind != Value::Kind::kScalar)
        return wrong_type(value, path, "write it like 2GiB, 512MiB or 1073741824");
      auto bytes = parse_bytes(value.text, path);
      if (bytes.ok())
        out = *bytes;
      else if (!error_)
        error_ = Error{bytes.error().code, place(value.line) + bytes.error().detail};
    };
  }

  Read folder_into(std::string& out) {
    return [this, &out](const Value& value, const std::string& path) {
      if (value.kind != Value::Kind::kScalar || value.text.empty())
        return wrong_type(value, path, "give a folder");
      if (value.text[0] == '~')
        return wrong_type(value, path, "~ is not expanded here; write the whole path");
      out = value.text;
      if (!folder_.empty()) {  // otherwise check_job_spec() refuses what is relative
        out = (std::filesystem::path(folder_) / value.text).lexically_normal().string();
        if (out.size() > 1 && out.back() == '/') out.pop_back();
      }
    };
  }

  void read_nodes(const Value& value, const std::string& path) {
    if (value.kind != Value::Kind::kMap) {
      count_into(spec_.nodes_max)(value, path);
      spec_.nodes_min = spec_.nodes_max;
      return;
    }
    spec_.nodes_min = spec_.nodes_max = 0;
    read_fields(value, path,
                {{"min", count_into(spec_.nodes_min)}, {"max", count_into(spec_.nodes_max)}});
    if (!lines_.contains("nodes.min") || !lines_.contains("nodes.max"))
      wrong_type(value, path, "give both min and max");
  }

  void read_command(const Value& value, const std::string& path) {
    if (value.kind == Value::Kind::kScalar) {
      if (value.text.empty()) return wrong_type(value, path, "give the program to run");
      spec_.command = {"/bin/sh", "-c", value.text};
      return;
    }
    if (value.kind != Value::Kind::kList)
      return wrong_type(value, path, "give a list like [python3, train.py], or a text for /bin/sh");
    for (const Value& item : value.items) text_into(spec_.command.emplace_back())(item, path);
  }

  void read_environment(const Value& value, const std::string& path) {
    if (value.kind != Value::Kind::kMap) return wrong_type(value, path, "give NAME: value pairs");
    for (const auto& [name, text] : value.fields) {
      if (spec_.environment.contains(name))
        return fail(Errc::kInvalidField, text, path, name + " is given twice; remove one");
      text_into(spec_.environment[name])(text, path + "." + name);
    }
  }

  void read_checkpoint(const Value& value, const std::string& path) {
    CheckpointSpec& checkpoint = spec_.checkpoint;
    read_fields(value, path,
                {{"folder", folder_into(checkpoint.folder)},
                 {"interval_steps", count_into(checkpoint.interval_steps)},
                 {"keep", count_into(checkpoint.keep)}});
  }

  std::string file_;
  std::string folder_;
  JobSpec spec_;
  std::map<std::string, int> lines_;  // of each field that was given
  std::optional<Error> error_;
};

Error invalid(const std::string& field, const std::string& what) {
  return {Errc::kInvalidField, field + ": " + what};
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    if (length == 0 || i + length > text.size()) return false;
    std::uint32_t code = length == 1 ? lead : lead & (0x7F >> length);
    for (std::size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0) != 0x80) return false;
      code = code << 6 | (next & 0x3F);
    }
    constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kLeast[length] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    i += length;
  }
  return true;
}

// Everything ends up in execve() and in JSON.
Result<void> check_text(const std::string& field, std::string_view text, std::size_t size_max) {
  if (text.size() > size_max)
    return invalid(field, std::to_string(text.size()) + " bytes are not allowed; give at most " +
                              std::to_string(size_max));
  if (text.find('\0') != text.npos) return invalid(field, "has a NUL byte; remove it");
  if (!is_utf8(text)) return invalid(field, "is not UTF-8; use UTF-8 text");
  return {};
}

Result<void> check_range(const std::string& field, std::uint64_t value, std::uint64_t least,
                         std::uint64_t most) {
  if (value < least)
    return invalid(
        field, std::to_string(value) + " is not allowed; give at least " + std::to_string(least));
  if (value > most)
    return invalid(field,
                   std::to_string(value) + " is not allowed; give at most " + std::to_string(most));
  return {};
}

Result<void> check_name(const std::string& name) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789-";
  if (name.empty()) return invalid("name", "missing; give the job a name");
  if (name.size() > 63 || name.find_first_not_of(kLetters) != name.npos || name[0] == '-')
    return invalid("name", "'" + name.substr(0, 80) +
                               "' is not allowed; use 1 to 63 of a-z, 0-9 and -, and do not begin "
                               "with -");
  if (name[0] == 'j' && name.size() > 1 && name.find_first_not_of("0123456789", 1) == name.npos)
    return invalid("name", "'" + name + "' looks like a job id; choose another");
  return {};
}

Result<void> check_folder(const std::string& field, const std::string& folder) {
  if (folder.empty() || folder[0] != '/')
    return invalid(field, "'" + folder + "' is not allowed; give an absolute path");
  return check_text(field, folder, 4095);
}

}  // namespace

Result<void> check_job_spec(const JobSpec& spec) {
  HF_TRY_VOID(check_name(spec.name));
  HF_TRY_VOID(check_text("owner", spec.owner, 128));
  HF_TRY_VOID(check_text("team", spec.team, 128));
  HF_TRY_VOID(check_text("request_token", spec.request_token, 128));
  HF_TRY_VOID(check_range("nodes", spec.nodes_min, 1, 100'000));
  HF_TRY_VOID(check_range("nodes", spec.nodes_max, 1, 100'000));
  if (spec.nodes_min > spec.nodes_max)
    return invalid("nodes", "min " + std::to_string(spec.nodes_min) + " is more than max " +
                                std::to_string(spec.nodes_max) + "; swap them");
  HF_TRY_VOID(check_range("ranks_per_node", spec.ranks_per_node, 1, 1024));
  if (spec.command.empty() || spec.command[0].empty())
    return invalid("command", "empty; give the program to run");
  // One argument of execve() is at most 128 KiB on Linux.
  for (const std::string& word : spec.command)
    HF_TRY_VOID(check_text("command", word, (128 << 10) - 1));
  for (const auto& [name, value] : spec.environment) {
    HF_TRY_VOID(check_text("environment", name, 1024));
    if (name.empty() || name.find('=') != name.npos)
      return invalid("environment", "the name '" + name +
                                        "' is not allowed; use letters, digits "
                                        "and _");
    HF_TRY_VOID(check_text("environment." + name, value, 64 << 10));
  }
  HF_TRY_VOID(check_folder("working_folder", spec.working_folder));
  if (!spec.checkpoint.folder.empty()) {
    HF_TRY_VOID(check_folder("checkpoint.folder", spec.checkpoint.folder));
  } else if (spec.checkpoint.interval_steps != 0) {
    return invalid("checkpoint.interval_steps", "given without checkpoint.folder; give that too");
  }
  HF_TRY_VOID(check_range("checkpoint.keep", spec.checkpoint.keep, 1, 1'000'000));
  HF_TRY_VOID(check_range("retry.attempts_without_progress_max",
                          spec.retry.attempts_without_progress_max, 1, 1'000'000));
  if (spec.hang.stall_min < milliseconds(100) || spec.hang.stall_min > seconds(7 * 86'400))
    return invalid("hang.stall_s", "not allowed; give 0.1 to 604800 seconds");
  HF_TRY_VOID(check_range("hang.stall_factor", spec.hang.stall_factor, 1, 1'000'000));
  if (spec.memory_limit_bytes != 0 && spec.memory_limit_bytes < kMemoryLimitMin)
    return invalid("memory_limit", std::to_string(spec.memory_limit_bytes) +
                                       " bytes are not allowed; give at least 16MiB");
  return {};
}

Result<JobSpec> parse_job_file(std::string_view text, const std::string& file,
                               const std::string& folder) {
  if (text.size() > kTextMax)
    return Error{Errc::kUnparsable, file + ": larger than 1 MiB; a job file has a few lines"};
  try {
    HF_TRY(const Value root, TreeBuilder(file).build(YAML::Load(std::string(text))));
    return SpecReader(file, folder).read(root);
  } catch (const YAML::Exception& error) {
    return Error{Errc::kUnparsable, file + ":" + std::to_string(error.mark.line + 1) + ":" +
                                        std::to_string(error.mark.column + 1) + ": " + error.msg};
  }
}

Result<JobSpec> parse_job_body(std::string_view text) {
  if (text.size() > kTextMax)
    return Error{Errc::kUnparsable, "job: larger than 1 MiB; a job has a few lines"};
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded())
    return Error{Errc::kUnparsable, "job: the body is not JSON; send a JSON object"};
  HF_TRY(const Value root, TreeBuilder("").build(json));
  return SpecReader("", "").read(root);
}

std::string render_job_body(const JobSpec& spec) {
  nlohmann::json body = {
      {"name", spec.name},
      {"owner", spec.owner},
      {"team", spec.team},
      {"nodes", {{"min", spec.nodes_min}, {"max", spec.nodes_max}}},
      {"ranks_per_node", spec.ranks_per_node},
      {"command", spec.command},
      {"environment", spec.environment},
      {"working_folder", spec.working_folder},
      {"checkpoint",
       {{"interval_steps", spec.checkpoint.interval_steps}, {"keep", spec.checkpoint.keep}}},
      {"retry", {{"attempts_without_progress_max", spec.retry.attempts_without_progress_max}}},
      {"hang",
       {{"stall_s", static_cast<double>(spec.hang.stall_min.ms()) / 1000},
        {"stall_factor", spec.hang.stall_factor}}},
      {"memory_limit", spec.memory_limit_bytes},
      {"request_token", spec.request_token}};
  if (!spec.checkpoint.folder.empty()) body["checkpoint"]["folder"] = spec.checkpoint.folder;
  return body.dump();
}

Result<std::uint64_t> parse_bytes(std::string_view text, std::string_view field) {
  constexpr std::pair<std::string_view, int> kUnits[] = {{"", 0},     {"B", 0},    {"KiB", 10},
                                                         {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec == std::errc()) {
    std::string_view unit = text.substr(static_cast<std::size_t>(parsed.ptr - text.data()));
    if (!unit.empty() && unit[0] == ' ') unit.remove_prefix(1);
    for (const auto& [name, shift] : kUnits)
      if (unit == name && number <= std::numeric_limits<std::uint64_t>::max() >> shift)
        return number << shift;
  }
  return invalid(std::string(field), "'" + std::string(text.substr(0, 60)) +
                                         "' is not allowed; write it like 2GiB, 512MiB or "
                                         "1073741824");
}

std::string_view closest_word(std::string_view word, const std::vector<std::string_view>& words) {
  std::string_view best;
  std::size_t best_distance = 3;  // at most 2 edits
  for (std::string_view candidate : words) {
    if (word.size() > candidate.size() + 2) continue;
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < word.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i + 1);
      for (std::size_t k = 0; k < candidate.size(); ++k) {
        const std::size_t replaced = diagonal + (word[i] == candidate[k] ? 0 : 1);
        diagonal = row[k + 1];
        row[k + 1] = std::min({row[k + 1] + 1, row[k] + 1, replaced});
      }
    }
    // A short word is two edits away from everything.
    if (row.back() < best_distance && row.back() * 2 < candidate.size()) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace holdfast
