#include "apps/device_watch.h"

#include <signal.h>

#include <chrono>

#include <spdlog/spdlog.h>

#include "apps/nvml_double.h"
#include "drivers/recorded_machine.h"
#include "io/files.h"
#include "io/nvml.h"
#include "io/process.h"
#include "model/codec.h"

namespace holdfast {
namespace {

constexpr Duration kDeadline = seconds(10);   // ByteRobust finds a hung driver within 10 s
constexpr Duration kNoLibrary = minutes(10);  // until it is looked for again
constexpr std::size_t kMachineMax = 1 << 20;
constexpr auto kResetLook = std::chrono::milliseconds(100);
constexpr int kResetLooks = 900;  // 90 s: the control plane waits two minutes

Result<RecordedMachine> load(const std::string& file) {
  HF_TRY(const std::string text, read_file(file, kMachineMax));
  return parse_recorded_machine(text, file);
}

std::string library_in(const std::string& folder) {
  return folder + "/libnvidia-ml.so.1";
}

}  // namespace

Result<void> DeviceWatch::prepare(const Options& options) {
  constexpr std::string_view kRecorded = "recorded:";
  if (options.devices == "auto" || options.devices == "none") return {};
  if (!options.devices.starts_with(kRecorded))
    return Error{Errc::kInvalidField, "devices: '" + options.devices +
                                          "' is not known; give auto, none or recorded:FILE"};
  const std::string copy = options.folder + "/machine.yaml";
  Result<RecordedMachine> machine = load(copy);
  if (machine.ok()) {
    // The start of the agent is the start of the machine.
    reset_recorded_devices(*machine, {}, /*restart=*/true);
  } else {
    machine = load(options.devices.substr(kRecorded.size()));
    if (!machine.ok()) return machine.error();
  }
  HF_TRY_VOID(write_file_atomic(copy, write_recorded_machine(*machine), 0600));
  return write_file_atomic(library_in(options.folder), nvml_double(), 0755);
}

DeviceWatch::DeviceWatch(asio::io_context& context, Options options, OnEvent on_event,
                         ProbeProcess::OnSpawned on_spawned)
    : context_(context),
      options_(std::move(options)),
      on_event_(std::move(on_event)),
      on_spawned_(std::move(on_spawned)) {}

void DeviceWatch::start() {
  const auto probe = [this](const char* what, std::vector<std::string> more) {
    ProbeProcess::Options options{
        .argv = {"/proc/self/exe", "probe", "--serve-fd", "3", "--what", what},
        .environment = own_environment(),
        .log_file = options_.folder + "/probe.log",
        .interval = options_.interval,
        .deadline = kDeadline};
    options.argv.insert(options.argv.end(), more.begin(), more.end());
    if (is_recorded()) options.environment["HOLDFAST_RECORDED_MACHINE"] = machine_file();
    const bool of_devices = std::string_view(what) == "devices";
    return std::make_unique<ProbeProcess>(
        context_, std::move(options),
        [this, of_devices](const std::string& line) {
          return of_devices ? take_devices(line) : take_host(line);
        },
        [this, of_devices](bool stuck, const std::string& evidence) {
          on_event_(agent_event::ProbeLate{of_devices, stuck, evidence});
        },
        on_spawned_);
  };
  if (options_.devices != "none") {
    devices_ = probe("devices", {"--library", is_recorded() ? library_in(options_.folder)
                                                            : std::string(Nvml::kLibrary)});
    devices_->look();
  }
  if (!options_.host_root.empty()) {
    host_ = probe("host", {"--root", options_.host_root});
    host_->look();
  }
}

Duration DeviceWatch::take_devices(const std::string& line) {
  const Result<DevicesReading> reading = decode_devices_reading(line);
  if (!reading.ok()) {
    spdlog::warn("{}", reading.error().text());
    return options_.interval;
  }
  if (!reading->has_library) {
    devices_->stop();
    return kNoLibrary;
  }
  on_event_(agent_event::DevicesRead{*reading});
  return options_.interval;
}

Duration DeviceWatch::take_host(const std::string& line) {
  const Result<HostReading> reading = decode_host_reading(line);
  if (reading.ok())
    on_event_(agent_event::HostRead{*reading});
  else
    spdlog::warn("{}", reading.error().text());
  return options_.interval;
}

// NVIDIA's own tool resets a device; it refuses while anything uses it, our probe too.
void DeviceWatch::reset(const std::vector<std::string>& devices) {
  const std::string which = devices.empty() ? "all devices" : devices.front();
  if (devices_ != nullptr) devices_->stop();
  if (is_recorded()) {
    Result<RecordedMachine> machine = load(machine_file());
    Result<void> written = machine.ok() ? Result<void>() : Result<void>(machine.error());
    if (machine.ok()) {
      reset_recorded_devices(*machine, devices, /*restart=*/false);
      written = write_file_atomic(machine_file(), write_recorded_machine(*machine), 0600);
    }
    on_event_(agent_event::ResetDone{
        written.ok(), written.ok() ? which + " of the recorded machine" : written.error().text()});
    if (devices_ != nullptr) devices_->look();
    return;
  }
  SpawnSpec spec{.argv = {"nvidia-smi", "--gpu-reset"},
                 .environment = own_environment(),
                 .log_file = options_.folder + "/probe.log"};
  // Without a name nvidia-smi resets all; "0000:3b:00" is what the kernel log calls a device.
  if (!devices.empty()) spec.argv.insert(spec.argv.end(), {"-i", devices.front() + ".0"});
  const Result<pid_t> pid = spawn(spec);
  if (!pid.ok()) {
    on_event_(agent_event::ResetDone{false, pid.error().text()});
    if (devices_ != nullptr) devices_->look();
    return;
  }
  on_spawned_(*pid);
  await_reset(*pid, which, kResetLooks);
}

// How it ended only its log tells: children are reaped elsewhere. What counts is what the devices
// show next.
void DeviceWatch::await_reset(pid_t pid, const std::string& what, int looks_left) {
  const std::string state = process_state(pid);
  if (!state.empty() && !state.starts_with("Z") && looks_left > 0) {
    auto timer = std::make_shared<asio::steady_timer>(context_, kResetLook);
    timer->async_wait([this, timer, pid, what, looks_left](const asio::error_code& error) {
      if (!error) await_reset(pid, what, looks_left - 1);
    });
    return;
  }
  if (looks_left == 0) ::kill(pid, SIGKILL);
  on_event_(agent_event::ResetDone{
      looks_left > 0, looks_left > 0 ? "nvidia-smi --gpu-reset of " + what
                                     : "nvidia-smi --gpu-reset of " + what + " did not end"});
  if (devices_ != nullptr) devices_->look();
}

Result<void> DeviceWatch::change(const std::string& what) {
  if (!is_recorded()) return Error{Errc::kWrongState, "gpu: this node has no recorded machine"};
  HF_TRY(RecordedMachine machine, load(machine_file()));
  HF_TRY_VOID(change_recorded_machine(machine, what));
  HF_TRY_VOID(write_file_atomic(machine_file(), write_recorded_machine(machine), 0600));
  if (devices_ != nullptr) devices_->look();
  return {};
}

}  // namespace holdfast
