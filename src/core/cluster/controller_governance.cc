#include "core/cluster/controller.h"
#include "core/governance/governance.h"

namespace holdfast {

void Controller::on(const event::GovernanceAsked& asked) {
  if (!check_governance_asked(asked).ok()) return;
  apply_governance(state_.governance, asked.change, asked.at, asked.by);
  audit(effect::Severity::kInfo, "governance." + std::string(word_of(asked.change.action)),
        std::string(word_of(asked.change.kind)) + " " + asked.change.id + ", by " + asked.by);
}

Result<void> Controller::check_governance_asked(const event::GovernanceAsked& asked) const {
  if (asked.change.action == GovernanceAction::kCreate && asked.change.cluster != state_.spec.id)
    return Error{Errc::kNotFound,
                 "ClusterArn: there is no cluster with the id '" + asked.change.cluster + "'"};
  return check_governance(state_.governance, asked.change);
}

}  // namespace holdfast
