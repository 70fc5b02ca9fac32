// Schedules of software updates: when a group's time has come, and what becomes of a time that was
// missed. The wall clock is the edge's.

#include <algorithm>

#include "core/cluster/controller.h"
#include "model/cron.h"

namespace holdfast {

using effect::Severity;

namespace {

// A time that came while nobody was there, or while something else was under way, is made up for
// until then. Later it is skipped: it was chosen for a reason, the quiet hours of a night.
constexpr Duration kLateMax = minutes(60);

WallTime next_time(const UpdateSchedule& schedule, WallTime after) {
  const Result<CronSchedule> cron = parse_cron(schedule.expression);
  return cron.ok() ? next_after(*cron, after).value_or(kNever) : kNever;
}

}  // namespace

bool Controller::is_due(WallTime now) const {
  return std::ranges::any_of(state_.spec.groups, [&](const InstanceGroup& group) {
    const auto record = std::ranges::find(state_.groups, group.number, &GroupRecord::number);
    if (!group.schedule || record == state_.groups.end() || state_.down) return false;
    const WallTime next = record->next_update;
    if (next == WallTime{} || now.ns - kLateMax.ns > next.ns) return true;
    return next <= now && check_update({}).ok();
  });
}

void Controller::on(const event::SchedulesLookedAt& looked) {
  event::SoftwareUpdateAsked update;
  for (const InstanceGroup& group : state_.spec.groups) {
    if (!group.schedule || state_.down) continue;
    GroupRecord& record = *find_group(group.number);
    const bool is_new = record.next_update == WallTime{};
    if (!is_new && record.next_update > looked.now) continue;
    const std::string which = "group '" + group.name + "': its software update of ";
    if (!is_new && looked.now.ns - record.next_update.ns > kLateMax.ns) {
      audit(Severity::kWarning, "update.skipped",
            which + utc_text(record.next_update) + " is skipped: the control plane was down, or " +
                "something else under way, for more than an hour after it");
    } else if (!is_new) {
      // Those of one time and one way are one update; another one waits for its end.
      const bool fits = update.groups.empty() || update.deployment == group.schedule->deployment;
      if (!fits || !check_update({}).ok()) continue;
      update.groups.push_back(group.name);
      update.deployment = group.schedule->deployment;
      update.by = "the schedule " + group.schedule->expression;
    }
    record.next_update = next_time(*group.schedule, looked.now);
    audit(Severity::kInfo, "update.scheduled",
          record.next_update == kNever
              ? "group '" + group.name + "': no software update any more: the last time of " +
                    group.schedule->expression + " is past"
              : which + utc_text(record.next_update) + " is the next one (" +
                    group.schedule->expression + ")");
  }
  if (!update.groups.empty()) on(update);
}

}  // namespace holdfast
