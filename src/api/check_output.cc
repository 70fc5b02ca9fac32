#include "api/check_output.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr double kValueMax = 1e12;  // of a unit; thousandths of it fit and can be multiplied
constexpr std::string_view kLine = "HEALTH_CHECK_RESULT:";

std::optional<Action> action_of(std::string_view word) {
  if (word == "none") return Action::kNone;
  if (word == "reboot") return Action::kRebootNode;
  if (word == "replace") return Action::kReplaceNode;
  return std::nullopt;
}

// Control characters and what is no UTF-8 would spoil a journal, a terminal or a page.
std::string printable(std::string_view text) {
  const std::string clean =
      json::parse(json(std::string(text)).dump(-1, ' ', false, json::error_handler_t::replace));
  std::string out;
  for (const char c : clean)
    out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;
  return out;
}

std::string end_of(std::string_view text) {
  return printable(text.substr(text.size() - std::min(text.size(), kCheckLogMax)));
}

void fail(CheckResult& result, const std::string& reason) {
  result.verdict = CheckVerdict::kFailed;
  result.reason = reason;
}

bool set_value(CheckResult& result, double value, std::string unit) {
  if (!(value >= 0 && value <= kValueMax) || unit.empty() || unit.size() > 16) return false;
  result.value = std::llround(value * 1000);
  result.unit = printable(unit);
  return true;
}

// What is wrong with how it ended; empty: nothing.
std::string bad_end(const CheckOutput& output) {
  if (output.timed_out)
    return "did not end within " + std::to_string(output.took.ms() / 1000) + " s and was killed";
  if (output.flooded) return "wrote more than any check needs and was killed";
  if (output.signal != 0) return "was ended by signal " + std::to_string(output.signal);
  if (output.code != 0) return "ended with status " + std::to_string(output.code);
  return {};
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    while (line.ends_with('\r') || line.ends_with(' ')) line.remove_suffix(1);
    if (!line.empty()) lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// The host may have colons in it (IPv6), the reason too: the two words between them decide.
std::optional<CheckResult> read_line(std::string_view line) {
  const std::size_t from = line.find(kLine);
  if (from == line.npos) return std::nullopt;
  std::string_view rest = line.substr(from + kLine.size());
  CheckResult result;
  for (std::size_t at = rest.find(':'); at != rest.npos; at = rest.find(':', at + 1)) {
    const std::size_t second = rest.find(':', at + 1);
    if (second == rest.npos) break;
    const std::size_t third = std::min(rest.find(':', second + 1), rest.size());
    const auto verdict = parse_word<CheckVerdict>(rest.substr(at + 1, second - at - 1));
    const auto action = action_of(rest.substr(second + 1, third - second - 1));
    if (!verdict || !action) continue;
    result.verdict = *verdict;
    result.action = *action;
    result.reason = printable(rest.substr(std::min(third + 1, rest.size())));
    return result;
  }
  fail(result,
       "its line HEALTH_CHECK_RESULT does not have the form <host>:<Passed|Failed|Skipped>:"
       "<none|reboot|replace>:<reason>");
  return result;
}

// One JSON object of a check. False: `problem` says what is wrong.
bool read_object(const json& object, CheckResult& result, std::string& problem) {
  std::optional<double> value;
  std::string unit;
  for (const auto& [key, field] : object.items()) {
    const std::string text = field.is_string() ? field.get<std::string>() : std::string();
    const auto wrong = [&, &key = key, &field = field](const std::string& remedy) {
      problem = "its JSON has " + printable(key).substr(0, 40) + ": " +
                printable(field.dump(-1, ' ', true)).substr(0, 80) + "; " + remedy;
      return false;
    };
    if (key == "verdict") {
      const auto verdict = parse_word<CheckVerdict>(text);
      if (!verdict) return wrong("give Passed, Failed or Skipped");
      result.verdict = *verdict;
    } else if (key == "action") {
      const auto action = action_of(text);
      if (!action) return wrong("give none, reboot or replace");
      result.action = *action;
    } else if (key == "reason" || key == "test") {
      if (!field.is_string()) return wrong("give a text");
      (key == "test" ? result.test : result.reason) = printable(text).substr(0, 500);
    } else if (key == "value") {
      if (!field.is_number()) return wrong("give a number");
      value = field.get<double>();
    } else if (key == "unit") {
      if (!field.is_string() || text.empty()) return wrong("give a text");
      unit = text;
    } else if (key == "less_is_better") {
      if (!field.is_boolean()) return wrong("give true or false");
      result.less_is_better = field.get<bool>();
    } else if (key == "peer") {
      if (!field.is_number_unsigned() || field > 0xFFFFFFFFu) return wrong("give a node's number");
      result.peer = NodeId{field.get<std::uint32_t>()};
    } else {
      return wrong("known are verdict, action, reason, value, unit, less_is_better, test, results");
    }
  }
  if (value.has_value() != !unit.empty()) {
    problem = "its JSON has a value without a unit, or the other way round";
    return false;
  }
  if (value && !set_value(result, *value, unit)) {
    problem = "its JSON has the value " + json(*value).dump() + ", which no measurement gives";
    return false;
  }
  return true;
}

std::vector<CheckResult> read_json(std::string_view line) {
  const json parsed = parse_json_text(line);
  if (!parsed.is_object()) return {};
  std::vector<const json*> objects;
  if (const auto list = parsed.find("results"); list != parsed.end() && list->is_array() &&
                                                parsed.size() == 1 &&
                                                list->size() <= kCheckResultsMax)
    for (const json& one : *list) objects.push_back(&one);
  else
    objects.push_back(&parsed);
  std::vector<CheckResult> results;
  for (const json* object : objects) {
    CheckResult& result = results.emplace_back();
    std::string problem = "its JSON has a result that is no object";
    if (!object->is_object() || !read_object(*object, result, problem)) {
      result = {};
      fail(result, problem);
    }
  }
  return results;
}

// The end decides over what was said, and all have the log.
std::vector<CheckResult> finished(const std::string& name, const CheckOutput& output,
                                  std::vector<CheckResult> results) {
  if (const std::string end = bad_end(output); !end.empty()) {
    const bool any = std::any_of(results.begin(), results.end(), [](const CheckResult& result) {
      return result.verdict == CheckVerdict::kFailed;
    });
    // A status that goes with a failure that it tells of says nothing new.
    if (!any || output.signal != 0 || output.timed_out || output.flooded)
      fail(results.emplace_back(), end);
  }
  if (results.empty()) results.emplace_back();
  const std::string log = end_of(output.text);
  for (CheckResult& result : results) {
    if (result.test.empty()) result.test = name;
    result.log = log;
    result.took = output.took;
  }
  return results;
}

double number_at(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() && found->is_number() ? found->get<double>()
                                                                           : -1;
}

const json& at(const json& object, const char* key) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

// The program may say something before its JSON, and after it.
json json_in(const std::string& text) {
  const std::size_t from = text.find('{');
  const std::size_t to = text.rfind('}');
  if (from == text.npos || to == text.npos || to < from) return {};
  return parse_json_text(text.substr(from, to - from + 1));
}

}  // namespace

std::vector<CheckResult> read_check_output(const std::string& name, const CheckOutput& output) {
  const std::vector<std::string_view> lines = lines_of(output.text);
  std::vector<CheckResult> results;
  for (auto line = lines.rbegin(); line != lines.rend() && results.empty(); ++line)
    if (auto result = read_line(*line)) results.push_back(std::move(*result));
  if (results.empty() && !lines.empty()) results = read_json(lines.back());
  return finished(name, output, std::move(results));
}

std::vector<CheckResult> read_fio_output(const CheckOutput& output) {
  std::vector<CheckResult> results;
  const json report = json_in(output.text);
  const json& jobs = at(report, "jobs");
  const json& job = jobs.is_array() && !jobs.empty() ? jobs.front() : report;
  constexpr double kMebibyte = 1 << 20;
  for (const auto& [part, name] : {std::pair{"write", "disk_write"}, {"read", "disk_read"}}) {
    CheckResult& result = results.emplace_back();
    result.test = name;
    if (!set_value(result, number_at(at(job, part), "bw_bytes") / kMebibyte, "MiB/s"))
      fail(result, std::string("fio tells no bandwidth of its ") + part + " part");
  }
  if (const double error = number_at(job, "error"); error > 0) {
    CheckResult& result = results.emplace_back();
    result.test = "disk";
    const bool wrong_data = error == 84;  // EILSEQ, fio's word for a block that does not verify
    fail(result, wrong_data ? "what was read is not what was written"
                            : "fio ended with error " + std::to_string(std::lround(error)));
    if (wrong_data) result.action = Action::kReplaceNode;
  }
  return finished("disk", output, std::move(results));
}

std::vector<CheckResult> read_dcgmi_output(const CheckOutput& output) {
  std::vector<CheckResult> results;
  const json report = json_in(output.text);
  std::size_t passed = 0;
  const auto read_test = [&](const json& test) {
    const json& found = at(test, "results");
    for (const json& result : found.is_array() ? found : json::array()) {
      const json& status = at(result, "status");
      std::string word = status.is_string() ? status.get<std::string>() : "";
      std::transform(word.begin(), word.end(), word.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
      if (word == "pass") ++passed;
      if (word != "fail" || results.size() >= kCheckResultsMax) continue;
      CheckResult& failed = results.emplace_back();
      const json& name = at(test, "name");
      failed.test = "accelerator";
      fail(failed,
           "DCGM: " + printable(name.is_string() ? name.get<std::string>() : "a test") +
               " failed: " + printable(at(result, "warnings").dump(-1, ' ', true)).substr(0, 300));
    }
  };
  if (report.is_object())
    for (const auto& [key, diagnostic] : report.items()) {
      const json& categories = at(diagnostic, "test_categories");
      for (const json& category : categories.is_array() ? categories : json::array()) {
        const json& tests = at(category, "tests");
        for (const json& test : tests.is_array() ? tests : json::array()) read_test(test);
      }
    }
  if (results.empty()) {
    CheckResult& result = results.emplace_back();
    result.test = "accelerator";
    if (passed == 0 && output.code == 0)
      fail(result, "dcgmi diag tells of no test that passed");
    else
      result.reason = "DCGM: " + std::to_string(passed) + " tests passed";
  }
  return finished("accelerator", output, std::move(results));
}

std::vector<CheckResult> read_nccl_output(const CheckOutput& output) {
  const auto number_after = [&](std::string_view mark) -> std::optional<double> {
    const std::size_t at = output.text.find(mark);
    if (at == std::string::npos) return std::nullopt;
    std::size_t from = output.text.find(':', at);
    if (from == std::string::npos) return std::nullopt;
    from = output.text.find_first_not_of(" \t", from + 1);
    if (from == std::string::npos) return std::nullopt;
    double value = 0;
    const auto parsed =
        std::from_chars(output.text.data() + from, output.text.data() + output.text.size(), value);
    return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
  };
  std::vector<CheckResult> results;
  CheckResult& bandwidth = results.emplace_back();
  bandwidth.test = "nccl_bandwidth";
  const auto average = number_after("# Avg bus bandwidth");
  if (!average || !set_value(bandwidth, *average, "GB/s"))
    fail(bandwidth, "nccl-tests tells no average bus bandwidth");
  if (const auto wrong = number_after("# Out of bounds values"); wrong && *wrong != 0) {
    CheckResult& result = results.emplace_back();
    result.test = "nccl";
    result.action = Action::kReplaceNode;
    fail(result, "values of the all-reduce were wrong");
  }
  return finished("nccl", output, std::move(results));
}

}  // namespace holdfast
