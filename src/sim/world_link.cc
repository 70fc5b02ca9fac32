// The link between agents and the control plane: streams, their delays and how they break.

#include <algorithm>

#include "sim/world.h"

namespace holdfast::sim {
namespace {

// What is not acknowledged for so long breaks a connection.
constexpr Duration kStreamTimeout = seconds(20);

}  // namespace

// `chance` decides, so that one message's delay does not depend on how many came before it.
Duration World::delay(Machine& machine, std::uint64_t chance) const {
  const Network& network = scenario_.network;
  const auto width = static_cast<std::uint64_t>((network.delay.most - network.delay.least).ns) + 1;
  Duration taken = network.delay.least + nanoseconds(static_cast<std::int64_t>(chance % width));
  if (machine.is_slow_link) taken = taken * std::int64_t{std::max(1u, network.slow_factor)};
  if (network.loss_per_million > 0 && mix(chance, 1) % 1'000'000 < network.loss_per_million)
    taken = taken + network.retransmit;
  return taken;
}

std::map<std::string, std::string> World::software_of(NodeId id) const {
  const std::uint32_t odd = options_.chaos.odd_software_per_cent;
  if (odd == 0) return {};
  return {{"driver", mix(seed_, id.value) % 100 < odd ? "550" : "535"}};
}

// As LinkClient does: after 50 ms doubling to 1 s, each shortened by up to half.
void World::connect(Machine& machine) {
  if (machine.agent == nullptr || machine.stream != 0) return;
  const bool is_cut = machine.cut_in_until > now() || machine.cut_out_until > now();
  if (server_ == nullptr || is_cut) {
    const Duration most =
        std::min(seconds(1), milliseconds(50) * (1ll << std::min(machine.connect_tries, 5u)));
    ++machine.connect_tries;
    return on_machine(machine, draw(machine.prng, {most / 2, most}),
                      [this](Machine& here) { connect(here); });
  }
  machine.connect_tries = 0;
  machine.stream = ++streams_;
  step_agent(machine, agent_event::Connected{{.node = machine.id,
                                              .address = to_string(machine.id),
                                              .rendezvous_port = machine.rendezvous_port,
                                              .pid = static_cast<std::int32_t>(machine.life) + 1,
                                              .cpus = 96,
                                              .memory_bytes = std::uint64_t{1} << 40,
                                              .software = software_of(machine.id)}});
  reconsider(machine);
}

void World::break_stream(Machine& machine) {
  if (machine.stream == 0) return;
  machine.broken_stream = machine.stream;
  machine.tail_lost = machine.prng.below(100) < options_.chaos.tail_lost_per_cent;
  machine.stream = 0;
  reconsider(machine);
  on_machine(machine, draw(machine.prng, {milliseconds(10), milliseconds(60)}),
             [this](Machine& here) { connect(here); });
}

void World::send_to_server(Machine& machine, AgentMessage message, bool is_beat) {
  if (machine.stream == 0) return;
  if (lands_at_once_) return arrive(machine.id, machine.stream, std::move(message));
  // The delay follows from the time: leaving beats out changes no other.
  const std::uint64_t chance = mix(seed_ ^ machine.id.value, static_cast<std::uint64_t>(now().ns));
  Instant arrival = now() + delay(machine, chance);
  if (machine.cut_out_until > now()) {
    if (machine.cut_out_until - now() > kStreamTimeout) return;  // the stream breaks before
    arrival = machine.cut_out_until + delay(machine, chance);
  }
  // In order, but that a beat holds up nothing: it may be left out.
  arrival = std::max(arrival, machine.last_to_server);
  if (is_beat)
    arrival = machine.last_beat_to_server = std::max(arrival, machine.last_beat_to_server);
  else
    machine.last_to_server = arrival;
  Flights& flights = is_beat ? beats_ : messages_;
  std::uint32_t slot = static_cast<std::uint32_t>(flights.all.size());
  if (flights.free.empty()) {
    flights.all.emplace_back();
  } else {
    slot = flights.free.back();
    flights.free.pop_back();
  }
  flights.all[slot] = {machine.id, machine.stream, std::move(message)};
  if (is_beat)
    queue_.beat_at(arrival, [this, slot] { land(beats_, slot); });
  else
    queue_.at(arrival, [this, slot] { land(messages_, slot); });
}

void World::land(Flights& flights, std::uint32_t slot) {
  Flight flight = std::move(flights.all[slot]);
  flights.free.push_back(slot);
  arrive(flight.node, flight.stream, std::move(flight.message));
}

void World::send_to_agent(NodeId id, const ServerMessage& message) {
  if (id.value == 0 || id.value > machines_.size()) return;
  Machine& machine = this->machine(id);
  if (machine.stream == 0 || machine.server_stream != machine.stream) return;
  Duration takes = delay(machine, machine.prng.next());
  if (std::holds_alternative<server_message::StartRanks>(message))
    takes = takes + draw(machine.prng, scenario_.costs.place);
  Instant arrival = now() + takes;
  if (machine.cut_in_until > now()) {
    if (machine.cut_in_until - now() > kStreamTimeout) return;
    arrival = machine.cut_in_until + takes;
  }
  machine.last_to_agent = std::max(arrival, machine.last_to_agent);
  on_machine(machine, machine.last_to_agent - now(),
             [this, stream = machine.stream, message](Machine& here) {
               if (here.stream == stream) step_agent(here, agent_event::Received{message});
             });
}

void World::cut(Machine& machine, bool in, bool out, Duration lasts) {
  const Instant until = lasts > Duration{} ? now() + lasts : end_ + seconds(3600);
  if (in) machine.cut_in_until = std::max(machine.cut_in_until, until);
  if (out) machine.cut_out_until = std::max(machine.cut_out_until, until);
  reconsider(machine);
  on_machine(machine, until - now(), [this](Machine& here) { reconsider(here); });
  if (until - now() > kStreamTimeout)
    on_machine(machine, kStreamTimeout, [this, stream = machine.stream](Machine& here) {
      if (here.stream == stream) break_stream(here);
    });
}

// Whether it may be silent, or fall silent without anything else happening.
void World::reconsider(Machine& machine) {
  bool in_doubt = false;
  if (machine.agent != nullptr) {
    in_doubt = machine.stream == 0 || machine.welcomed_stream != machine.stream ||
               machine.frozen_until > now() || machine.cut_in_until > now() ||
               machine.cut_out_until > now() ||
               std::any_of(machine.ranks.begin(), machine.ranks.end(),
                           [](const Rank& rank) { return rank.hung; });
  } else if (machine.state == Machine::State::kGone && server_ != nullptr) {
    const auto& nodes = server_->controller().state().nodes;
    const auto node = nodes.find(machine.id);
    in_doubt = node != nodes.end() && node->second.state != NodeState::kGone;
  }
  if (in_doubt)
    doubtful_.insert(machine.id);
  else
    doubtful_.erase(machine.id);
}

}  // namespace holdfast::sim
