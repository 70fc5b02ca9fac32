// `holdfast probe`: one look at this machine, for a person; and the process that looks for an
// agent.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/dcgm_health.h"
#include "apps/commands/commands.h"
#include "apps/terminal.h"
#include "core/health/health_watch.h"
#include "drivers/recorded_machine.h"
#include "io/captured_run.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/host_probe.h"
#include "io/nvml.h"
#include "io/process.h"
#include "model/codec.h"

namespace holdfast {
namespace {

struct ProbeOptions {
  std::string what = "all";
  std::string library = Nvml::kLibrary;
  std::string root = "/";
  std::string record;
  bool json = false;
  int serve_fd = -1;
};

constexpr Duration kDcgmEvery = minutes(1);   // its watches sample as often
constexpr Duration kDcgmBudget = seconds(5);  // less than the agent's patience with a look

// What DCGM's host engine has found, where there is one.
class Dcgm {
 public:
  std::vector<DcgmIncident> read() {
    const Instant now{monotonic_ns()};
    if (is_missing_ || (next_ && now < *next_)) return last_;
    next_ = now + kDcgmEvery;
    const std::string output = run({"dcgmi", "health", "--check", "--json"});
    if (dcgm_watches_nothing(output)) run({"dcgmi", "health", "--set", "a"});
    // An engine that does not answer has healed nothing.
    if (auto found = read_dcgm_health(output)) last_ = *std::move(found);
    return last_;
  }

 private:
  std::string run(std::vector<std::string> argv) {
    const auto ended = run_captured({.program = {.argv = std::move(argv),
                                                 .environment = own_environment(),
                                                 .death_signal = SIGKILL},
                                     .budget = kDcgmBudget});
    is_missing_ = !ended.ok();
    return ended.ok() ? ended->output : std::string();
  }

  std::optional<Instant> next_;
  std::vector<DcgmIncident> last_;
  bool is_missing_ = false;
};

// Devices: the library is loaded once and kept.
class Devices {
 public:
  explicit Devices(std::string library) : library_(std::move(library)) {}

  DevicesReading read() {
    if (!nvml_) {
      Result<Nvml> loaded = Nvml::load(library_);
      if (!loaded.ok() && loaded.error().code == Errc::kNotFound) return {};
      if (!loaded.ok())
        return {.has_library = true, .error = 999, .error_text = loaded.error().text()};
      nvml_ = std::make_unique<Nvml>(std::move(loaded).value());
    }
    DevicesReading reading = nvml_->read();
    if (reading.error == 0) reading.dcgm = dcgm_.read();
    return reading;
  }

 private:
  const std::string library_;
  std::unique_ptr<Nvml> nvml_;
  Dcgm dcgm_;
};

// A byte is a question, a line the answer; ends with the agent.
Result<int> serve_probe(const ProbeOptions& options) {
  Devices devices(options.library);
  const UniqueFd link(options.serve_fd);
  for (char question = 0;;) {
    const ssize_t got = ::read(link.get(), &question, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return 0;
    const std::string answer =
        options.what == "host" ? encode(read_host(options.root)) : encode(devices.read());
    if (!write_all(link, "the agent's link", answer + "\n").ok()) return 0;
  }
}

nlohmann::json finding(const Fault& fault) {
  return {{"kind", fault.kind},
          {"device", fault.device},
          {"cause", word_of(fault.cause)},
          {"action", word_of(fault.action)},
          {"evidence", fault.line},
          {"source", health_rule(fault.kind)->source}};
}

// "34 of 89 C"; "-" for what the library does not tell.
template <class T>
std::string of_most(const std::optional<T>& value, const std::optional<T>& most, double scale,
                    const char* unit) {
  if (!value) return "-";
  std::string text = fmt::format("{:.0f}", static_cast<double>(*value) / scale);
  if (most) text += fmt::format(" of {:.0f}", static_cast<double>(*most) / scale);
  return text + unit;
}

std::vector<std::vector<std::string>> device_rows(const DevicesReading& devices) {
  std::vector<std::vector<std::string>> rows{
      {"ACCELERATOR", "NAME", "HEAT", "POWER", "PCIE", "NVLINKS", "ECC UNCORRECTED", "REMAPS"}};
  const auto told = [](const auto& value) { return value ? fmt::format("{}", *value) : "-"; };
  for (const DeviceReading& device : devices.devices) {
    const auto active = std::ranges::count(device.links, true, &NvlinkReading::active);
    rows.push_back({short_pci(device.pci), device.error == 0 ? device.name : "does not answer",
                    of_most(device.temperature_c, device.slowdown_c, 1, " C"),
                    of_most(device.power_mw, device.power_limit_mw, 1000, " W"),
                    of_most(device.pcie_width, device.pcie_width_max, 1, " lanes"),
                    fmt::format("{} of {}", active, device.links.size()),
                    told(device.ecc_uncorrected_aggregate),
                    told(device.rows_remapped_uncorrected)});
  }
  return rows;
}

Result<int> probe(const ProbeOptions& options) {
  HF_TRY_VOID(become_subreaper());  // of what dcgmi may start
  if (options.serve_fd >= 0) return serve_probe(options);
  const DevicesReading devices = Devices(options.library).read();
  const HostReading host = read_host(options.root);
  if (!options.record.empty()) {
    RecordedMachine machine{.source = "recorded with holdfast probe --record"};
    machine.reading = devices;
    if (!devices.has_library || devices.error != 0)
      return Error{Errc::kNotFound, "record: " + options.library + " shows no devices here" +
                                        (devices.error != 0 ? ": " + devices.error_text : "")};
    HF_TRY_VOID(write_file_atomic(options.record, write_recorded_machine(machine), 0644));
  }
  std::vector<Fault> faults = judge_devices({}, devices, {});
  for (Fault& fault : judge_host({}, host, {})) faults.push_back(std::move(fault));
  const auto software = read_software(options.root);
  if (options.json) {
    nlohmann::json findings = nlohmann::json::array();
    for (const Fault& fault : faults) findings.push_back(finding(fault));
    print(nlohmann::json{{"devices", nlohmann::json::parse(encode(devices))},
                         {"host", nlohmann::json::parse(encode(host))},
                         {"software", software},
                         {"findings", findings}}
              .dump() +
          "\n");
    return 0;
  }
  const Paint paint = standard_output().paint;
  for (const auto& [name, version] : software) print(fmt::format("{:<16}{}\n", name, version));
  print(devices.has_library
            ? fmt::format("{:<16}{}, driver {}\n", "accelerators", devices.devices.size(),
                          devices.driver.empty() ? "unknown" : devices.driver)
            : fmt::format("{:<16}none: {} is not installed\n", "accelerators", options.library));
  if (!devices.devices.empty()) print("\n" + render_table(device_rows(devices), paint) + "\n");
  std::vector<std::vector<std::string>> rows{{"FINDING", "DEVICE", "CAUSE", "ACTION", "EVIDENCE"}};
  for (const Fault& fault : faults)
    rows.push_back({fault.kind, fault.device.empty() ? "-" : fault.device,
                    std::string(word_of(fault.cause)), std::string(word_of(fault.action)),
                    fault.line});
  print(rows.size() == 1 ? "nothing found\n" : "\n" + render_table(rows, paint));
  return 0;
}

}  // namespace

void add_probe(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("probe", "Look at this machine's accelerators and host, once");
  auto options = std::make_shared<ProbeOptions>();
  add_json_option(*command, options->json);
  command->add_option("--library", options->library, "NVIDIA's management library")
      ->capture_default_str();
  command->add_option("--root", options->root, "Another folder's /proc and /sys")
      ->capture_default_str();
  command->add_option("--record", options->record,
                      "Write the devices to this file, as a recorded machine for "
                      "`holdfast up --devices recorded:FILE`");
  // An agent's.
  command->add_option("--what", options->what)->group("");
  command->add_option("--serve-fd", options->serve_fd)->group("");
  command->footer(
      "It judges one look: what needs two (rates, what was there before) only an agent sees.\n\n"
      "Examples:\n  holdfast probe\n  holdfast probe --json --record this-machine.yaml");
  command->callback([options] { finish([&] { return probe(*options); }); });
}

}  // namespace holdfast
