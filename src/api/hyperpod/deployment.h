#pragma once

// How a software update goes through a group: DeploymentConfig of UpdateClusterSoftware and of a
// group's ScheduledUpdateConfig.

#include <nlohmann/json.hpp>
#include <variant>

#include "api/hyperpod/api_error.h"
#include "model/instance_group.h"

namespace holdfast::hyperpod {

// `asked` is valid by the service model. An alarm's name is the kind of one of our alerts: another
// one is refused with their list.
[[nodiscard]] std::variant<Deployment, ApiError> read_deployment(const nlohmann::json& asked);
// As ActiveSoftwareUpdateConfig shows it.
[[nodiscard]] nlohmann::json show_deployment(const Deployment& deployment);

}  // namespace holdfast::hyperpod
