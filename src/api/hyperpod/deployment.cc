#include "api/hyperpod/deployment.h"

#include <algorithm>
#include <utility>

#include "model/event.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;

constexpr std::uint32_t kPercentMax = 100;

std::variant<BatchSize, ApiError> read_size(const char* name, const json& asked) {
  const std::uint32_t value = asked["Value"];
  if (asked["Type"] == "INSTANCE_COUNT") return BatchSize{.nodes = value};
  if (value <= kPercentMax) return BatchSize{.percent = value};
  return ApiError{ErrorType::kValidation,
                  std::string(name) + ".Value " + std::to_string(value) +
                      " is not allowed for CAPACITY_PERCENTAGE. Give 1 to 100."};
}

json show_size(const BatchSize& size) {
  if (size.nodes > 0) return {{"Type", "INSTANCE_COUNT"}, {"Value", size.nodes}};
  return {{"Type", "CAPACITY_PERCENTAGE"}, {"Value", size.percent}};
}

}  // namespace

std::variant<Deployment, ApiError> read_deployment(const json& asked) {
  Deployment deployment{.wait = seconds(asked.value("WaitIntervalInSeconds", 0))};
  const json policy = asked.value("RollingUpdatePolicy", json::object());
  for (const auto& [name, to] :
       {std::pair("MaximumBatchSize", &deployment.batch),
        std::pair("RollbackMaximumBatchSize", &deployment.rollback_batch)}) {
    if (!policy.contains(name)) continue;
    const auto size = read_size(name, policy[name]);
    if (const auto* error = std::get_if<ApiError>(&size)) return *error;
    *to = std::get<BatchSize>(size);
  }
  for (const json& alarm : asked.value("AutoRollbackConfiguration", json::array())) {
    const std::string name = alarm["AlarmName"];
    if (std::ranges::find(effect::kAlertKinds, name) == effect::kAlertKinds.end()) {
      std::string known;
      for (const std::string_view kind : effect::kAlertKinds)
        known.append(known.empty() ? "" : ", ").append(kind);
      return ApiError{ErrorType::kValidation,
                      "AutoRollbackConfiguration: there is no alarm '" + name +
                          "'. The alarms here are the alerts of the cluster: " + known + "."};
    }
    if (std::ranges::find(deployment.alarms, name) == deployment.alarms.end())
      deployment.alarms.push_back(name);
  }
  return deployment;
}

json show_deployment(const Deployment& deployment) {
  json shown = {{"WaitIntervalInSeconds", deployment.wait.ms() / 1000}};
  if (deployment.batch != BatchSize{}) {
    shown["RollingUpdatePolicy"]["MaximumBatchSize"] = show_size(deployment.batch);
    if (deployment.rollback_batch != BatchSize{})
      shown["RollingUpdatePolicy"]["RollbackMaximumBatchSize"] =
          show_size(deployment.rollback_batch);
  }
  for (const std::string& alarm : deployment.alarms)
    shown["AutoRollbackConfiguration"].push_back({{"AlarmName", alarm}});
  return shown;
}

}  // namespace holdfast::hyperpod
