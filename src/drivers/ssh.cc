#include "drivers/ssh.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <utility>

#include <spdlog/spdlog.h>
#include <asio/post.hpp>
#include <nlohmann/json.hpp>

#include "io/clock.h"
#include "io/files.h"
#include "io/redfish.h"
#include "io/s3_retry.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::size_t kAtOnce = 32;
constexpr int kTriesToStart = 2;  // on one host; then the next host is tried
constexpr int kTriesToEnd = 3;
constexpr std::size_t kPasswordMax = 4096, kHostsFileMax = 8 << 20;

// What a host is to HostClaims.
std::string claim_of(const InventoryHost& host) {
  return host.address + ":" + std::to_string(host.port);
}

std::string first_word_of_file(const std::string& path) {
  const auto text = read_file(path, kPasswordMax);
  if (!text.ok()) return {};
  return text->substr(0, text->find_first_of("\r\n"));
}

}  // namespace

SshDriver::SshDriver(asio::io_context& context, Inventory inventory, Options options,
                     MakeToken make_token, OnGone on_gone, OnNoCapacity on_no_capacity)
    : context_(context),
      inventory_(std::move(inventory)),
      options_(std::move(options)),
      make_token_(std::move(make_token)),
      on_gone_(std::move(on_gone)),
      on_no_capacity_(std::move(on_no_capacity)),
      prng_(options_.jitter_seed),
      poll_timer_(context),
      runner_(context, kAtOnce) {
  for (const InventoryHost& host : inventory_.hosts) hosts_[host.name] = &host;
  poll();
}

Result<void> SshDriver::load() {
  if (::access(options_.hosts_file.c_str(), F_OK) != 0) return {};
  HF_TRY(const std::string text, read_file(options_.hosts_file, kHostsFileMax));
  const json kept = parse_json_text(text);
  const auto damaged = [this](const std::string& what) {
    return Error{Errc::kStateCorrupt, options_.hosts_file + ": " + what +
                                          "; restore it: it says which host serves which node"};
  };
  if (!kept.is_object()) return damaged("no JSON object");
  for (const auto& [name, host] : kept.items()) {
    NodeId node;
    const char* end = name.data() + name.size();
    if (name.size() < 2 || std::from_chars(name.data() + 1, end, node.value).ptr != end ||
        !host.is_string())
      return damaged("'" + name + "' is no node with its host");
    if (!hosts_.contains(host.get<std::string>())) {
      spdlog::warn("{}: its host {} is not in the inventory any more", name,
                   host.get<std::string>());
      continue;
    }
    machines_[node] = {
        .wish = {.node = node}, .host = host.get<std::string>(), .doing = Doing::kUp};
    taken_.insert(host.get<std::string>());
    if (!options_.claims->take(claim_of(*hosts_.at(host.get<std::string>())), options_.cluster))
      spdlog::error("{}: its host {} is another cluster's too", name, host.get<std::string>());
  }
  return {};
}

void SshDriver::save() {
  json kept = json::object();
  for (const auto& [node, machine] : machines_)
    if (!machine.host.empty()) kept[to_string(node)] = machine.host;
  const auto written = write_file_atomic(options_.hosts_file, kept.dump(1) + "\n", 0600);
  if (!written.ok()) spdlog::error("{}", written.error().text());
}

// ---- What is asked of a host

RemoteNode SshDriver::remote(NodeId node) const {
  return {host_of(machines_.at(node)).folder, options_.cluster, to_string(node)};
}

// As root, whoever logs in.
void SshDriver::ask(NodeId node, const std::string& script, Answer answer) {
  run_ssh(node, "if [ \"$(id -u)\" = 0 ]; then exec sh -s; else exec sudo -n sh -s; fi",
          {.input = script, .budget = options_.call_max}, std::move(answer));
}

void SshDriver::run_ssh(NodeId node, const std::string& command, ProgramRun run, Answer answer) {
  Machine& machine = machines_.at(node);
  ++machine.under_way;
  const InventoryHost& host = host_of(machine);
  run.program.argv = {"ssh",
                      "-T",
                      "-oBatchMode=yes",
                      "-oStrictHostKeyChecking=yes",
                      "-oUserKnownHostsFile=" + inventory_.known_hosts,
                      "-oGlobalKnownHostsFile=/dev/null",
                      "-oUpdateHostKeys=no",
                      "-oConnectTimeout=10",
                      "-oServerAliveInterval=5",
                      "-oServerAliveCountMax=3",
                      "-oControlMaster=no",
                      "-oControlPath=none",
                      "-oLogLevel=ERROR",
                      "-p" + std::to_string(host.port),
                      "-l" + host.user};
  if (!host.key.empty()) {
    run.program.argv.push_back("-oIdentitiesOnly=yes");
    run.program.argv.push_back("-i" + host.key);
  }
  run.program.argv.insert(run.program.argv.end(), {"--", host.address, command});
  run.program.environment = options_.environment;
  runner_.run(std::move(run), [this, node, turn = machine.turn,
                               answer = std::move(answer)](Result<ProgramEnd> end) {
    const auto found = machines_.find(node);
    if (found == machines_.end()) return;
    Machine& then = found->second;
    --then.under_way;
    if (then.turn != turn) {
      if (then.doing == Doing::kEnding && then.under_way == 0) try_end(node);
      return;
    }
    if (!end.ok()) {
      end = ProgramEnd{.status = {.code = 127}, .errors = end.error().text()};
    }
    answer(then, *end);
  });
}

std::string SshDriver::why(const ProgramEnd& end) const {
  if (end.errors.find("Host key verification failed") != std::string::npos ||
      end.errors.find("host key is known") != std::string::npos)
    return "its host key is not the one in " + inventory_.known_hosts +
           ": if the machine was set up anew put its new key there, else somebody is in between";
  return why_failed(end);
}

Duration SshDriver::pause(const Machine& machine) {
  return retry_delay({options_.pause_min, options_.pause_max}, machine.failed, options_.pause_min,
                     prng_);
}

void SshDriver::later(NodeId node, Duration pause, std::function<void(Machine&)> then) {
  auto timer = std::make_shared<asio::steady_timer>(context_);
  timer->expires_after(std::chrono::nanoseconds(pause.ns));
  timer->async_wait([this, timer, node, turn = machines_.at(node).turn,
                     then = std::move(then)](const asio::error_code& error) {
    const auto found = machines_.find(node);
    if (!error && found != machines_.end() && found->second.turn == turn) then(found->second);
  });
}

void SshDriver::tell_gone(NodeId node, const std::string& reason) {
  ++untold_;
  asio::post(context_, [this, node, reason] {
    --untold_;
    on_gone_(node, reason);
  });
}

// ---- A host for a node

void SshDriver::provision(const MachineWish& wish) {
  const auto [found, is_new] = machines_.try_emplace(wish.node);
  Machine& machine = found->second;
  machine.wish = wish;
  // One that was being set up when the control plane died is set up again.
  const bool is_kept = !is_new && machine.doing == Doing::kUp && machine.turn == 0;
  if (!is_new && !is_kept) return;
  machine.doing = Doing::kStarting;
  ++machine.turn;
  if (machine.host.empty()) return take_host(wish.node);
  prepare(wish.node);
}

bool SshDriver::is_of_another(const InventoryHost& host) const {
  return options_.claims->is_of_another(claim_of(host), options_.cluster);
}

const InventoryHost* SshDriver::choose_host(const MachineWish& wish) const {
  const InventoryHost* best = nullptr;
  std::pair<bool, std::size_t> best_rank;
  for (const InventoryHost& host : inventory_.hosts) {
    if (taken_.contains(host.name) || is_of_another(host)) continue;
    const auto rest = resting_.find(host.name);
    if (rest != resting_.end() && rest->second.until_ns > monotonic_ns()) continue;
    if (!host.group.empty() && !wish.group.empty() && host.group != wish.group) continue;
    const auto type =
        std::find(wish.instance_types.begin(), wish.instance_types.end(), host.instance_type);
    if (!wish.instance_types.empty() && type == wish.instance_types.end()) continue;
    const std::pair rank{host.is_spare,
                         static_cast<std::size_t>(type - wish.instance_types.begin())};
    if (best != nullptr && best_rank <= rank) continue;
    best = &host;
    best_rank = rank;
  }
  return best;
}

std::string SshDriver::why_no_host(const MachineWish& wish) const {
  std::string reason = "no host of the inventory is free: " + std::to_string(taken_.size()) +
                       " of " + std::to_string(inventory_.hosts.size()) + " serve nodes";
  std::size_t unfit = 0, of_others = 0;
  for (const InventoryHost& host : inventory_.hosts) {
    if (taken_.contains(host.name)) continue;
    if (is_of_another(host)) {
      ++of_others;
      continue;
    }
    const auto rest = resting_.find(host.name);
    if (rest != resting_.end() && rest->second.until_ns > monotonic_ns())
      reason += "; " + host.name + " rests: " + rest->second.reason;
    else
      ++unfit;
  }
  if (of_others > 0)
    reason += "; " + std::to_string(of_others) + " serve other clusters of this server";
  if (unfit > 0) {
    reason += "; " + std::to_string(unfit) + " are of another group than '" + wish.group +
              "' or of another instance type";
  }
  return reason;
}

bool SshDriver::look_for_new_hosts() {
  const Result<Inventory> read = options_.read_inventory();
  if (!read.ok()) {
    spdlog::warn("{}", read.error().text());
    return false;
  }
  const std::size_t before = inventory_.hosts.size();
  for (const InventoryHost& host : read->hosts)
    if (!hosts_.contains(host.name)) inventory_.hosts.push_back(host);
  for (const InventoryHost& host : inventory_.hosts) hosts_[host.name] = &host;
  return inventory_.hosts.size() > before;
}

void SshDriver::take_host(NodeId node) {
  Machine& machine = machines_.at(node);
  const InventoryHost* host = choose_host(machine.wish);
  if (host == nullptr && look_for_new_hosts()) host = choose_host(machine.wish);
  while (host != nullptr && !options_.claims->take(claim_of(*host), options_.cluster))
    host = choose_host(machine.wish);  // another cluster was faster
  if (host == nullptr) {
    const std::string reason = why_no_host(machine.wish);
    machines_.erase(node);
    ++untold_;
    asio::post(context_, [this, node, reason] {
      --untold_;
      on_no_capacity_(node, reason);
    });
    return;
  }
  machine.host = host->name;
  machine.failed = 0;
  taken_.insert(host->name);
  save();  // before anything of it runs there
  prepare(node);
}

void SshDriver::prepare(NodeId node) {
  if (sha256_.empty()) {
    // Of what is copied, once.
    ++machines_.at(node).turn;
    runner_.run(
        {.program = {.argv = {"sha256sum", options_.program}, .environment = options_.environment},
         .budget = options_.call_max},
        [this, node, turn = machines_.at(node).turn](const Result<ProgramEnd>& end) {
          if (end.ok() && end->ok()) sha256_ = end->output.substr(0, 64);
          const auto found = machines_.find(node);
          if (found == machines_.end() || found->second.turn != turn) return;
          if (sha256_.size() == 64) return prepare(node);
          host_failed(node, "sha256sum: " + (end.ok() ? why_failed(*end) : end.error().text()));
        });
    return;
  }
  ask(node, prepare_script(remote(node)), [this, node](Machine&, const ProgramEnd& end) {
    const std::string there = answer_of(end.output, "sha256");
    if (!end.ok() || there.empty()) return host_failed(node, why(end));
    if (there == sha256_) return start(node);
    copy(node);
  });
}

void SshDriver::copy(NodeId node) {
  const std::string command = receive_command(host_of(machines_.at(node)).folder);
  run_ssh(node,
          "if [ \"$(id -u)\" = 0 ]; then exec sh -c " + shell_word(command) +
              "; else exec sudo -n sh -c " + shell_word(command) + "; fi",
          {.input_file = options_.program, .budget = options_.copy_max},
          [this, node](Machine&, const ProgramEnd& end) {
            if (!end.ok()) return host_failed(node, "copying the program: " + why(end));
            start(node);
          });
}

void SshDriver::start(NodeId node) {
  const InventoryHost& host = host_of(machines_.at(node));
  RemoteAgent agent{.node = remote(node),
                    .sha256 = sha256_,
                    .ca_pem = options_.ca_pem,
                    .token = make_token_(node),
                    .arguments = options_.agent};
  agent.arguments.insert(agent.arguments.end(), {"--address", host.address});
  if (!host.instance_type.empty())
    agent.arguments.insert(agent.arguments.end(), {"--instance-type", host.instance_type});
  if (!host.spine.empty()) agent.arguments.insert(agent.arguments.end(), {"--spine", host.spine});
  if (!host.rack.empty()) agent.arguments.insert(agent.arguments.end(), {"--rack", host.rack});
  ask(node, start_script(agent), [this, node](Machine& machine, const ProgramEnd& end) {
    if (!end.ok() || answer_of(end.output, "started").empty())
      return host_failed(node, "starting the agent: " + why(end));
    machine.doing = Doing::kUp;
    machine.failed = 0;
    spdlog::info("{}: its agent starts on {}", to_string(node), machine.host);
  });
}

// Once more, then another host.
void SshDriver::host_failed(NodeId node, const std::string& reason) {
  Machine& machine = machines_.at(node);
  spdlog::warn("{}: host {}: {}", to_string(node), machine.host, reason);
  if (++machine.failed < kTriesToStart)
    return later(node, pause(machine), [this, node](Machine&) { prepare(node); });
  resting_[machine.host] = {monotonic_ns() + options_.rest.ns, reason};
  const std::string claim = claim_of(host_of(machine));
  taken_.erase(machine.host);
  machine.host.clear();
  save();
  options_.claims->give_back(claim, options_.cluster);
  take_host(node);
}

// ---- The end of it

void SshDriver::terminate(NodeId node) {
  end(node, "it was given back");
}

void SshDriver::release(NodeId node) {
  if (machines_.contains(node)) end(node, "it is no member any more");
}

void SshDriver::end(NodeId node, const std::string& because) {
  const auto found = machines_.find(node);
  if (found == machines_.end()) return tell_gone(node, "it has no host");
  Machine& machine = found->second;
  if (machine.doing == Doing::kEnding) return;
  machine.doing = Doing::kEnding;
  machine.gone_because = because;
  machine.failed = 0;
  ++machine.turn;
  // Else when what is under way there has ended: it must not come after the end.
  if (machine.under_way == 0) try_end(node);
}

void SshDriver::try_end(NodeId node) {
  ask(node, end_script(remote(node)), [this, node](Machine& machine, const ProgramEnd& end) {
    if (end.ok() && !answer_of(end.output, "ended").empty())
      return forget(node, machine.gone_because);
    const std::string reason = why(end);
    if (++machine.failed < kTriesToEnd)
      return later(node, pause(machine), [this, node](Machine&) { try_end(node); });
    resting_[machine.host] = {monotonic_ns() + options_.rest.ns, reason};
    const std::string because =
        machine.gone_because + "; its host " + machine.host + " could not be cleaned up: " + reason;
    if (std::holds_alternative<std::monostate>(host_of(machine).power))
      return forget(node, because, false);
    restart(node, [this, node, because](const std::string& problem) {
      const bool is_clean = problem.empty();
      forget(node, because + (is_clean ? "; it was restarted instead" : "; " + problem), is_clean);
    });
  });
}

void SshDriver::forget(NodeId node, const std::string& reason, bool is_clean) {
  const std::string claim = claim_of(host_of(machines_.at(node)));
  taken_.erase(machines_.at(node).host);
  machines_.erase(node);
  save();
  // Not before it is on the disk: a restart must not find it with two clusters. One that may still
  // run something stays this cluster's.
  if (is_clean) options_.claims->give_back(claim, options_.cluster);
  on_gone_(node, reason);
}

bool SshDriver::end_everything() {
  std::vector<NodeId> all;
  for (const auto& [node, machine] : machines_) all.push_back(node);
  for (const NodeId node : all) end(node, "the cluster ends");
  return machines_.empty() && untold_ == 0;
}

// ---- Restarts

void SshDriver::reboot(NodeId node) {
  const auto found = machines_.find(node);
  if (found == machines_.end()) return tell_gone(node, "it has no host");
  Machine& machine = found->second;
  if (machine.doing == Doing::kRebooting || machine.doing == Doing::kEnding) return;
  machine.doing = Doing::kRebooting;
  machine.failed = 0;
  machine.boot.clear();
  machine.until_ns = monotonic_ns() + options_.reboot_max.ns;
  ++machine.turn;
  ask(node, look_script(remote(node)), [this, node](Machine& then, const ProgramEnd& end) {
    then.boot = answer_of(end.output, "boot");  // it may not answer: that may be why
    restart(node, [this, node](const std::string& problem) {
      if (!problem.empty()) return this->end(node, "cannot be restarted: " + problem);
      wait_for_boot(node);
    });
  });
}

// By its controller where it has one: a machine that hangs does not listen to anything else.
void SshDriver::restart(NodeId node, std::function<void(const std::string& problem)> done) {
  const InventoryHost& host = host_of(machines_.at(node));
  if (const auto* redfish = std::get_if<RedfishPower>(&host.power)) {
    RedfishTarget target{.url = redfish->url,
                         .user = redfish->user,
                         .password = first_word_of_file(redfish->password_file),
                         .ca = redfish->ca};
    asio::post(power_, [this, node, turn = machines_.at(node).turn, done = std::move(done),
                        target = std::move(target)] {
      const Result<void> asked = redfish_restart(target);
      const std::string problem = asked.ok() ? "" : asked.error().text();
      asio::post(context_, [this, node, turn, done, problem] {
        const auto found = machines_.find(node);
        if (found != machines_.end() && found->second.turn == turn) done(problem);
      });
    });
    return;
  }
  const auto answered = [done = std::move(done), this](Machine&, const ProgramEnd& end) {
    done(end.ok() ? "" : why(end));
  };
  const auto* ipmi = std::get_if<IpmiPower>(&host.power);
  if (ipmi == nullptr) return ask(node, reboot_script(), answered);
  runner_.run(
      {.program = {.argv = {"ipmitool", "-I", "lanplus", "-H", ipmi->address, "-U", ipmi->user,
                            "-f", ipmi->password_file, "chassis", "power", "reset"},
                   .environment = options_.environment},
       .budget = options_.call_max},
      [this, node, turn = machines_.at(node).turn, answered](const Result<ProgramEnd>& end) {
        const auto found = machines_.find(node);
        if (found == machines_.end() || found->second.turn != turn) return;
        answered(
            found->second,
            end.ok() ? *end : ProgramEnd{.status = {.code = 127}, .errors = end.error().text()});
      });
}

void SshDriver::wait_for_boot(NodeId node) {
  Machine& machine = machines_.at(node);
  if (monotonic_ns() > machine.until_ns)
    return end(node, "did not come back from its restart in time");
  ++machine.failed;
  later(node, pause(machine), [this, node](Machine&) { look_after_boot(node); });
}

// Back: it has booted anew, or a controller has cut it off and nothing of the node is left.
void SshDriver::look_after_boot(NodeId node) {
  ask(node, look_script(remote(node)), [this, node](Machine& machine, const ProgramEnd& end) {
    const std::string boot = answer_of(end.output, "boot");
    const bool is_new = !boot.empty() && boot != machine.boot;
    const bool was_cut_off = !std::holds_alternative<std::monostate>(host_of(machine).power) &&
                             answer_of(end.output, "alive").empty();
    if (!end.ok() || boot.empty() || !(is_new || was_cut_off)) return wait_for_boot(node);
    machine.doing = Doing::kStarting;
    machine.failed = 0;
    prepare(node);
  });
}

// ---- Whether they are still there

void SshDriver::adopt(NodeId node) {
  if (!machines_.contains(node)) tell_gone(node, "no host is known to serve it");
}

void SshDriver::poll() {
  poll_timer_.expires_after(std::chrono::nanoseconds(options_.poll.ns));
  poll_timer_.async_wait([this](const asio::error_code& error) {
    if (error) return;
    for (auto& [node, machine] : machines_)
      if (machine.doing == Doing::kUp)
        ask(node, look_script(remote(node)),
            [this, node = node](Machine&, const ProgramEnd& end) { looked(node, end); });
    poll();
  });
}

// A host that does not answer is the heartbeats' business: they are faster.
void SshDriver::looked(NodeId node, const ProgramEnd& end) {
  const std::string last_words = answer_of(end.output, "dead");
  if (machines_.at(node).doing != Doing::kUp || !end.ok() ||
      end.output.find("\ndead") == std::string::npos)
    return;
  this->end(node, "its agent has ended on host " + machines_.at(node).host +
                      (last_words.empty() ? "" : ": " + last_words));
}

}  // namespace holdfast
