#include "core/access/roles.h"

#include <algorithm>
#include <array>

namespace holdfast {
namespace {

struct Rule {
  std::string_view verb;
  OperationNeeds needs;
};

constexpr OperationNeeds kLook{AccessRole::kViewer, false};
constexpr OperationNeeds kOperate{AccessRole::kOperator, true};
constexpr OperationNeeds kGovern{AccessRole::kAdmin, true};
constexpr auto kRules = std::to_array<Rule>({
    {"Describe", kLook},
    {"List", kLook},
    {"Search", kLook},
    {"Batch", kOperate},
    {"Move", kOperate},
    {"StartClusterHealthCheck", kOperate},
    {"Update", kOperate},
    {"AddTags", kOperate},
    {"Create", kGovern},
    {"Delete", kGovern},
    {"Attach", kGovern},
    {"Detach", kGovern},
    {"Extend", kGovern},
});

}  // namespace

std::optional<OperationNeeds> needs_of(std::string_view operation) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (operation.size() > 64 || !std::ranges::all_of(operation, is_letter)) return std::nullopt;
  for (const Rule& rule : kRules)
    if (operation.starts_with(rule.verb)) return rule.needs;
  return std::nullopt;
}

}  // namespace holdfast
