#include "api/job_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "api/strict_fields.h"

namespace holdfast {
namespace {

bool is_s3(std::string_view folder) {
  return folder.starts_with("s3://");
}

constexpr TextKind kKind = {"job", "two"};
constexpr std::uint64_t kMemoryLimitMin = 16ull << 20;

// Fills a JobSpec from a tree. Types are judged here, ranges in check_job_spec(). The first error
// is kept and ends the reading.
class SpecReader : private FieldReader {
 public:
  SpecReader(const std::string& file, std::string folder)
      : FieldReader(file, "job"), folder_(std::move(folder)) {}

  Result<JobSpec> read(const FieldValue& root) {
    spec_.working_folder = folder_;
    read_root(root);
    if (error()) return *error();
    if (auto checked = check_job_spec(spec_); !checked.ok()) {
      const std::string& detail = checked.error().detail;
      const int line = line_of(detail.substr(0, detail.find(':')));
      return Error{checked.error().code, place(line) + detail};
    }
    return spec_;
  }

 private:
  void read_root(const FieldValue& root) {
    read_fields(
        root, "",
        {{"name", text_into(spec_.name)},
         {"owner", text_into(spec_.owner)},
         {"team", text_into(spec_.team)},
         {"nodes", [this](auto& value, auto& path) { read_nodes(value, path); }},
         {"ranks_per_node", count_into(spec_.ranks_per_node)},
         {"instance_group", text_into(spec_.instance_group)},
         {"allow_drifted", flag_into(spec_.allow_drifted)},
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
                         {"stall_factor", count_into(spec_.hang.stall_factor)},
                         {"first_step_s", seconds_into(spec_.hang.first_step_max)}});
          }},
         {"memory_limit", bytes_into(spec_.memory_limit_bytes)},
         {"request_token", text_into(spec_.request_token)}});
  }

  Read seconds_into(Duration& out) {
    return [this, &out](const FieldValue& value, const std::string& path) {
      double seconds = 0;
      const char* end = value.text.data() + value.text.size();
      const auto parsed = std::from_chars(value.text.data(), end, seconds);
      if (value.kind != FieldValue::Kind::kScalar || value.quoted || parsed.ec != std::errc() ||
          parsed.ptr != end || !(std::abs(seconds) < 1e9))
        return wrong_type(value, path, "give a number of seconds");
      out = milliseconds(std::llround(seconds * 1000));
    };
  }

  Read bytes_into(std::uint64_t& out) {
    return [this, &out](const FieldValue& value, const std::string& path) {
      if (value.kind != FieldValue::Kind::kScalar)
        return wrong_type(value, path, "write it like 2GiB, 512MiB or 1073741824");
      auto bytes = parse_bytes(value.text, path);
      if (bytes.ok())
        out = *bytes;
      else
        keep(Error{bytes.error().code, place(value.line) + bytes.error().detail});
    };
  }

  Read folder_into(std::string& out) {
    return [this, &out](const FieldValue& value, const std::string& path) {
      if (value.kind != FieldValue::Kind::kScalar || value.text.empty())
        return wrong_type(value, path, "give a folder");
      if (value.text[0] == '~')
        return wrong_type(value, path, "~ is not expanded here; write the whole path");
      out = value.text;
      if (is_s3(out)) return;
      if (!folder_.empty()) {  // otherwise check_job_spec() refuses what is relative
        out = (std::filesystem::path(folder_) / value.text).lexically_normal().string();
        if (out.size() > 1 && out.back() == '/') out.pop_back();
      }
    };
  }

  void read_nodes(const FieldValue& value, const std::string& path) {
    if (value.kind != FieldValue::Kind::kMap) {
      count_into(spec_.nodes_max)(value, path);
      spec_.nodes_min = spec_.nodes_max;
      return;
    }
    spec_.nodes_min = spec_.nodes_max = 0;
    read_fields(value, path,
                {{"min", count_into(spec_.nodes_min)}, {"max", count_into(spec_.nodes_max)}});
    if (!given("nodes.min") || !given("nodes.max"))
      wrong_type(value, path, "give both min and max");
  }

  void read_command(const FieldValue& value, const std::string& path) {
    if (value.kind == FieldValue::Kind::kScalar) {
      if (value.text.empty()) return wrong_type(value, path, "give the program to run");
      spec_.command = {"/bin/sh", "-c", value.text};
      return;
    }
    if (value.kind != FieldValue::Kind::kList)
      return wrong_type(value, path, "give a list like [python3, train.py], or a text for /bin/sh");
    for (const FieldValue& item : value.items) text_into(spec_.command.emplace_back())(item, path);
  }

  void read_environment(const FieldValue& value, const std::string& path) {
    if (value.kind != FieldValue::Kind::kMap)
      return wrong_type(value, path, "give NAME: value pairs");
    for (const auto& [name, text] : value.fields) {
      if (spec_.environment.contains(name))
        return fail(Errc::kInvalidField, text, path, name + " is given twice; remove one");
      text_into(spec_.environment[name])(text, path + "." + name);
    }
  }

  void read_checkpoint(const FieldValue& value, const std::string& path) {
    CheckpointSpec& checkpoint = spec_.checkpoint;
    read_fields(value, path,
                {{"folder", folder_into(checkpoint.folder)},
                 {"interval_steps", count_into(checkpoint.interval_steps)},
                 {"keep", count_into(checkpoint.keep)},
                 {"keep_every", count_into(checkpoint.keep_every)},
                 {"budget", bytes_into(checkpoint.budget_bytes)}});
  }

  std::string folder_;
  JobSpec spec_;
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
  if (is_s3(folder) && field == "checkpoint.folder") return check_text(field, folder, 1023);
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
  HF_TRY_VOID(check_text("instance_group", spec.instance_group, 63));
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
  if (spec.hang.first_step_max != Duration{} &&
      (spec.hang.first_step_max < seconds(1) || spec.hang.first_step_max > seconds(7 * 86'400)))
    return invalid("hang.first_step_s", "not allowed; give 1 to 604800 seconds, or 0 for none");
  if (spec.memory_limit_bytes != 0 && spec.memory_limit_bytes < kMemoryLimitMin)
    return invalid("memory_limit", std::to_string(spec.memory_limit_bytes) +
                                       " bytes are not allowed; give at least 16MiB");
  return {};
}

Result<JobSpec> parse_job_file(std::string_view text, const std::string& file,
                               const std::string& folder) {
  HF_TRY(const FieldValue root, parse_yaml(text, file, kKind));
  return SpecReader(file, folder).read(root);
}

Result<JobSpec> parse_job_body(std::string_view text) {
  HF_TRY(const FieldValue root, parse_json(text, kKind));
  return SpecReader("", "").read(root);
}

std::string render_job_body(const JobSpec& spec) {
  nlohmann::json body = {
      {"name", spec.name},
      {"owner", spec.owner},
      {"team", spec.team},
      {"nodes", {{"min", spec.nodes_min}, {"max", spec.nodes_max}}},
      {"ranks_per_node", spec.ranks_per_node},
      {"instance_group", spec.instance_group},
      {"allow_drifted", spec.allow_drifted},
      {"command", spec.command},
      {"environment", spec.environment},
      {"working_folder", spec.working_folder},
      {"checkpoint",
       {{"interval_steps", spec.checkpoint.interval_steps},
        {"keep", spec.checkpoint.keep},
        {"keep_every", spec.checkpoint.keep_every},
        {"budget", spec.checkpoint.budget_bytes}}},
      {"retry", {{"attempts_without_progress_max", spec.retry.attempts_without_progress_max}}},
      {"hang",
       {{"stall_s", static_cast<double>(spec.hang.stall_min.ms()) / 1000},
        {"stall_factor", spec.hang.stall_factor},
        {"first_step_s", static_cast<double>(spec.hang.first_step_max.ms()) / 1000}}},
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

}  // namespace holdfast
