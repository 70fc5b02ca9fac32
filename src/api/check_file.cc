#include "api/check_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "api/strict_fields.h"

namespace holdfast {
namespace {

constexpr TextKind kFile = {"file of deep checks", "two"};
constexpr std::size_t kNodesMax = 3000;

class CheckReader : private FieldReader {
 public:
  explicit CheckReader(const std::string& file) : FieldReader(file, "checks") {}

  Result<DeepChecks> read(const FieldValue& root) {
    DeepChecks& c = checks_;
    read_fields(root, "",
                {{"on_start", kinds_into(c.on_start)},
                 {"after_repair", kinds_into(c.after_repair)},
                 {"scripts",
                  [this](auto& value, auto& path) {
                    text_into(checks_.scripts)(value, path);
                    if (!error() && !checks_.scripts.starts_with("/"))
                      wrong_type(value, path, "give a folder that begins with /");
                  }},
                 {"load_s", seconds_into(c.load, 0.1, 86'400)},
                 {"test_budget_s", seconds_into(c.test_budget, 1, 86'400)},
                 {"budget_s", seconds_into(c.budget, 1, 7 * 86'400)},
                 {"floors", [this](auto& value, auto& path) {
                    read_list(value, path, [this](auto& item, auto& at) { read_floor(item, at); });
                  }}});
    if (error()) return *error();
    if (c.load * 2 > c.test_budget)
      return Error{Errc::kInvalidField, place(line_of("test_budget_s")) + "test_budget_s: " +
                                            std::to_string(c.test_budget.ms() / 1000) +
                                            " is not allowed; give at least twice load_s"};
    if (c.test_budget > c.budget)
      return Error{Errc::kInvalidField, place(line_of("budget_s")) +
                                            "budget_s: " + std::to_string(c.budget.ms() / 1000) +
                                            " is not allowed; give at least test_budget_s"};
    return checks_;
  }

  Result<CheckRequest> read_request(const FieldValue& root) {
    CheckRequest request;
    request.kinds = {CheckKind::kInstanceStress, CheckKind::kInstanceConnectivity};
    read_fields(root, "",
                {{"nodes",
                  [&](auto& value, auto& path) {
                    read_list(value, path, [&](auto& item, auto& at) {
                      request.nodes.push_back(node_of(item, at));
                    });
                    if (!error() && (request.nodes.empty() || request.nodes.size() > kNodesMax))
                      wrong_type(value, path, "name 1 to 3000 nodes");
                  }},
                 {"checks", kinds_into(request.kinds)},
                 {"drain", flag_into(request.drain)}});
    if (error()) return *error();
    if (!given("nodes")) return Error{Errc::kInvalidField, "nodes: missing; name the nodes"};
    return request;
  }

 private:
  Read kinds_into(std::vector<CheckKind>& out) {
    return [this, &out](const FieldValue& value, const std::string& path) {
      out.clear();
      read_list(value, path, [&](const FieldValue& item, const std::string& at) {
        std::size_t index = 0;
        word_into(index, {kWords<CheckKind>.begin(), kWords<CheckKind>.end()})(item, at);
        const auto kind = static_cast<CheckKind>(index);
        if (std::find(out.begin(), out.end(), kind) == out.end()) out.push_back(kind);
      });
    };
  }

  bool number_of(const FieldValue& value, double& out) {
    const char* end = value.text.data() + value.text.size();
    const auto parsed = std::from_chars(value.text.data(), end, out);
    return value.kind == FieldValue::Kind::kScalar && !value.quoted && parsed.ec == std::errc() &&
           parsed.ptr == end && std::isfinite(out);
  }

  Read seconds_into(Duration& out, double least, double most) {
    return [this, &out, least, most](const FieldValue& value, const std::string& path) {
      double number = 0;
      if (!number_of(value, number) || number < least || number > most)
        return wrong_type(value, path, "give a number of seconds in its range");
      out = milliseconds(std::llround(number * 1000));
    };
  }

  void read_floor(const FieldValue& value, const std::string& path) {
    CheckFloor& floor = checks_.floors.emplace_back();
    floor.instance_type = "*";
    read_fields(value, path,
                {{"instance_type", text_into(floor.instance_type)},
                 {"test", text_into(floor.test)},
                 {"value", [&](const FieldValue& item, const std::string& at) {
                    double number = 0;
                    if (!number_of(item, number) || number < 0 || number > 1e12)
                      return wrong_type(item, at, "give a number, in the unit of the test");
                    floor.value = std::llround(number * 1000);
                  }}});
    if (!error() && (floor.test.empty() || !given(path + ".value")))
      wrong_type(value, path, "give test and value");
  }

  NodeId node_of(const FieldValue& value, const std::string& path) {
    NodeId node;
    const char* end = value.text.data() + value.text.size();
    const bool has_prefix = value.kind == FieldValue::Kind::kScalar && value.text.starts_with('n');
    if (!has_prefix || std::from_chars(value.text.data() + 1, end, node.value).ptr != end || !node)
      wrong_type(value, path, "give an id like n3");
    return node;
  }

  DeepChecks checks_;
};

}  // namespace

Result<DeepChecks> parse_check_file(std::string_view text, const std::string& file) {
  HF_TRY(const FieldValue root, parse_yaml(text, file, kFile));
  if (root.kind == FieldValue::Kind::kNothing) return DeepChecks{};
  return CheckReader(file).read(root);
}

Result<CheckRequest> parse_check_request(std::string_view body) {
  HF_TRY(const FieldValue root, parse_json(body, {"request", "two"}));
  return CheckReader("").read_request(root);
}

}  // namespace holdfast
