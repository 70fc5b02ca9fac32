#include "sim/replay.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/cluster/server_machine.h"
#include "model/codec.h"

namespace holdfast::sim {
namespace {

constexpr auto kMessages = std::to_array<std::string_view>(
    {"welcome", "start_ranks", "stop_ranks", "collect_stacks", "warm_up", "forget_job", "log_ack",
     "fenced", "inject", "reset_devices", "start_check", "stop_check", "run_lifecycle",
     "lifecycle_files"});
static_assert(kMessages.size() == std::variant_size_v<ServerMessage>);

std::string word_of(const Effect& effect) {
  if (const auto* send = std::get_if<effect::Send>(&effect))
    return std::string(kMessages[send->message.index()]);
  if (const auto* made = std::get_if<effect::Provision>(&effect))
    return "provision " + to_string(made->node);
  if (const auto* ended = std::get_if<effect::Terminate>(&effect))
    return "terminate " + to_string(ended->node);
  if (const auto* again = std::get_if<effect::Reboot>(&effect))
    return "reboot " + to_string(again->node);
  if (const auto* kept = std::get_if<effect::KeepEvidence>(&effect))
    return "keep_evidence " + to_string(kept->incident);
  return {};
}

void count(const Effects& effects, ReplayStep& step) {
  for (const Effect& effect : effects) {
    const std::string word = word_of(effect);
    const auto known = std::find_if(step.effects.begin(), step.effects.end(),
                                    [&](const auto& one) { return one.first == word; });
    if (known == step.effects.end())
      step.effects.emplace_back(word, 1u);
    else
      ++known->second;
  }
}

}  // namespace

Result<Replayed> replay(const std::optional<std::string>& snapshot, std::span<const LogEntry> log,
                        const std::function<void(const ReplayStep&)>& on_step) {
  ServerMachine machine;
  if (snapshot) {
    HF_TRY(ClusterState state, decode_cluster_state(*snapshot));
    machine.restore(std::move(state));
  }
  Replayed replayed;
  for (const LogEntry& entry : log) {
    Result<Event> event = decode_event(entry.event);
    if (!event.ok())
      return Error{event.error().code,
                   "entry " + std::to_string(entry.seq) + ": " + event.error().detail};
    machine.submit(std::move(event).value());
    for (ServerMachine::Entry& done : machine.turn(entry.at)) {
      ReplayStep step{entry.seq,
                      entry.at,
                      std::move(done.event),
                      std::move(done.audits),
                      {},
                      done.effects_digest == entry.effects_digest};
      count(machine.durable(entry.at), step);
      ++replayed.steps;
      if (!step.is_same) ++replayed.differing;
      if (on_step) on_step(step);
    }
  }
  replayed.digest = machine.controller().digest();
  return replayed;
}

}  // namespace holdfast::sim
