#include "drivers/recorded_machine.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <type_traits>

#include <yaml-cpp/yaml.h>
#include <nlohmann/json.hpp>

#include "model/fields.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

constexpr std::size_t kDevicesMax = 64;
constexpr std::int32_t kGpuIsLost = 15;  // nvmlReturn_t

template <class T>
struct ValueOf {
  using type = T;
};
template <class T>
struct ValueOf<std::optional<T>> {
  using type = T;
};

// The keys of one device or link are the names of its fields.
class Reader {
 public:
  Reader(const YAML::Node& from, std::string where) : from_(from), where_(std::move(where)) {}

  template <class T>
  Result<void> read(T& to, std::set<std::string> known) {
    fields(*this, to);
    if (problem_) return *problem_;
    known.insert(known_.begin(), known_.end());
    for (const auto& entry : from_) {
      const auto key = entry.first.as<std::string>("");
      if (!known.contains(key))
        return Error{Errc::kUnknownField, where_ + ": " + key.substr(0, 80) + ": no such field"};
    }
    return {};
  }

  template <class T>
  void operator()(std::string_view name, T& to) {
    known_.insert(std::string(name));
    const YAML::Node value = from_[std::string(name)];
    if (problem_ || !value) return;
    try {
      if constexpr (std::is_same_v<T, std::vector<NvlinkReading>>) {
        to.clear();
        for (const YAML::Node& one : value) {
          Reader link(one, where_ + ".links");
          NvlinkReading reading;
          if (const auto read = link.read(reading, {}); !read.ok()) problem_ = read.error();
          to.push_back(reading);
        }
      } else {
        to = value.as<typename ValueOf<T>::type>();
      }
    } catch (const YAML::Exception& error) {
      problem_ =
          Error{Errc::kInvalidField, where_ + ": " + std::string(name) + ": " + error.what()};
    }
  }

 private:
  const YAML::Node from_;
  const std::string where_;
  std::set<std::string> known_;
  std::optional<Error> problem_;
};

class Writer {
 public:
  explicit Writer(YAML::Emitter& to) : to_(to) {}

  template <class T>
  void operator()(std::string_view name, const std::optional<T>& value) {
    if (value) (*this)(name, *value);
  }
  template <class T>
  void operator()(std::string_view name, const T& value) {
    to_ << YAML::Key << std::string(name) << YAML::Value << value;
  }
  void operator()(std::string_view name, const std::vector<NvlinkReading>& links) {
    to_ << YAML::Key << std::string(name) << YAML::Value << YAML::BeginSeq;
    for (const NvlinkReading& link : links) {
      to_ << YAML::Flow << YAML::BeginMap;
      fields(*this, link);
      to_ << YAML::EndMap;
    }
    to_ << YAML::EndSeq;
  }

 private:
  YAML::Emitter& to_;
};

Result<void> read_device(const YAML::Node& from, const YAML::Node& defaults,
                         const std::string& where, RecordedMachine& machine) {
  DeviceReading device;
  if (defaults) HF_TRY_VOID(Reader(defaults, where + ".device_defaults").read(device, {}));
  HF_TRY_VOID(Reader(from, where).read(device, {"cured_by", "missing"}));
  if (device.pci.empty())
    return Error{Errc::kInvalidField, where + ": pci: missing; give it as 0000:3b:00.0"};
  device.index = static_cast<std::uint32_t>(machine.reading.devices.size());
  if (from["cured_by"]) {
    const auto cure = parse_word<RecordedMachine::Cure>(from["cured_by"].as<std::string>(""));
    if (!cure)
      return Error{Errc::kInvalidField, where + ": cured_by: write reset, reboot or nothing"};
    machine.cured_by[device.pci] = *cure;
  }
  if (from["missing"] && from["missing"].as<bool>(false)) machine.missing.insert(device.pci);
  machine.reading.devices.push_back(std::move(device));
  return {};
}

}  // namespace

Result<RecordedMachine> parse_recorded_machine(const std::string& yaml, const std::string& name) {
  RecordedMachine machine;
  machine.reading.has_library = true;
  try {
    const YAML::Node root = YAML::Load(yaml);
    if (!root.IsMap()) return Error{Errc::kUnparsable, name + ": no recorded machine, but a list"};
    static const std::set<std::string> kKnown{"source", "driver", "hangs_at", "device_defaults",
                                              "devices"};
    for (const auto& entry : root)
      if (!kKnown.contains(entry.first.as<std::string>("")))
        return Error{
            Errc::kUnknownField,
            name + ": " + entry.first.as<std::string>("").substr(0, 80) + ": no such field"};
    machine.source = root["source"].as<std::string>("");
    machine.reading.driver = root["driver"].as<std::string>("");
    machine.hangs_at = root["hangs_at"].as<std::int32_t>(-1);
    const YAML::Node devices = root["devices"];
    if (!devices || !devices.IsSequence() || devices.size() > kDevicesMax)
      return Error{Errc::kInvalidField, name + ": devices: give a list of at most 64"};
    for (std::size_t i = 0; i < devices.size(); ++i)
      HF_TRY_VOID(read_device(devices[i], root["device_defaults"],
                              name + ": devices[" + std::to_string(i) + "]", machine));
  } catch (const YAML::Exception& error) {
    return Error{Errc::kUnparsable, name + ": " + error.what()};
  }
  return machine;
}

std::string write_recorded_machine(const RecordedMachine& machine) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  out << YAML::Key << "source" << YAML::Value << machine.source;
  out << YAML::Key << "driver" << YAML::Value << machine.reading.driver;
  if (machine.hangs_at >= 0) out << YAML::Key << "hangs_at" << YAML::Value << machine.hangs_at;
  out << YAML::Key << "devices" << YAML::Value << YAML::BeginSeq;
  for (const DeviceReading& device : machine.reading.devices) {
    out << YAML::BeginMap;
    Writer writer(out);
    fields(writer, device);
    if (const auto cure = machine.cured_by.find(device.pci); cure != machine.cured_by.end())
      out << YAML::Key << "cured_by" << YAML::Value << std::string(word_of(cure->second));
    if (machine.missing.contains(device.pci)) out << YAML::Key << "missing" << YAML::Value << true;
    out << YAML::EndMap;
  }
  out << YAML::EndSeq << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

namespace {

using nlohmann::json;

template <class T>
void grow(std::optional<T>& counter, std::uint64_t by) {
  counter = static_cast<T>(counter.value_or(0) + by);
}

void cure(RecordedMachine& machine, DeviceReading& device, bool restart) {
  device.ecc_corrected_volatile = device.ecc_uncorrected_volatile = 0;
  if (device.rows_pending.value_or(false)) device.rows_pending = false;
  if (device.pages_pending.value_or(false)) device.pages_pending = false;
  if (device.recovery_action) device.recovery_action = 0;
  device.clock_reasons = 0;
  device.pcie_width = device.pcie_width_max;
  for (NvlinkReading& link : device.links) link = {.link = link.link, .active = true};
  if (device.error == kGpuIsLost && !restart) return;
  device.error = 0;
  if (restart) machine.missing.erase(device.pci);
  machine.cured_by.erase(device.pci);
}

// nullopt: no such key.
std::optional<Error> change_device(RecordedMachine& machine, DeviceReading& device,
                                   const std::string& key, const json& value) {
  const bool is_number = value.is_number_unsigned();
  const std::uint64_t number = is_number ? value.get<std::uint64_t>() : 0;
  const bool yes = value.is_boolean() && value.get<bool>();
  const std::map<std::string, std::function<void()>> numbers{
      {"ecc_uncorrected",
       [&] {
         grow(device.ecc_uncorrected_volatile, number);
         grow(device.ecc_uncorrected_aggregate, number);
         if (device.recovery_action == 0) device.recovery_action = 1;  // GPU reset
       }},
      {"ecc_corrected",
       [&] {
         grow(device.ecc_corrected_volatile, number);
         grow(device.ecc_corrected_aggregate, number);
       }},
      {"pages_retired", [&] { device.pages_retired = static_cast<std::uint32_t>(number); }},
      {"temperature", [&] { device.temperature_c = static_cast<std::int32_t>(number); }},
      {"clock_reasons", [&] { device.clock_reasons = number; }},
      {"pcie_width", [&] { device.pcie_width = static_cast<std::uint32_t>(number); }},
      {"pcie_replays", [&] { grow(device.pcie_replays, number); }},
      {"nvlink_down",
       [&] {
         for (NvlinkReading& link : device.links)
           if (link.link == number) link.active = false;
       }},
      {"nvlink_recoveries",
       [&] {
         if (!device.links.empty()) grow(device.links.front().recoveries, number);
       }},
      {"recovery_action", [&] { device.recovery_action = static_cast<std::int32_t>(number); }},
  };
  const std::map<std::string, std::function<void()>> switches{
      {"rows_pending", [&] { device.rows_pending = true; }},
      {"rows_failed", [&] { device.rows_failed = true; }},
      {"lost", [&] { device.error = kGpuIsLost; }},
      {"missing", [&] { machine.missing.insert(device.pci); }},
      {"hang", [&] { machine.hangs_at = static_cast<std::int32_t>(device.index); }},
      {"heal",
       [&] {
         cure(machine, device, true);
         device.rows_failed = false;
         machine.hangs_at = -1;
         if (device.slowdown_c) device.temperature_c = *device.slowdown_c / 2;
       }},
  };
  if (const auto found = numbers.find(key); found != numbers.end()) {
    if (!is_number || number > 1'000'000'000)
      return Error{Errc::kInvalidField, key + ": give a whole number"};
    found->second();
    return {};
  }
  if (const auto found = switches.find(key); found != switches.end()) {
    if (!yes) return Error{Errc::kInvalidField, key + ": true is the one value"};
    found->second();
    return {};
  }
  if (key == "cured_by") {
    const auto word =
        parse_word<RecordedMachine::Cure>(value.is_string() ? value.get<std::string>() : "");
    if (!word) return Error{Errc::kInvalidField, "cured_by: give reset, reboot or nothing"};
    machine.cured_by[device.pci] = *word;
    return {};
  }
  return Error{Errc::kUnknownField, key.substr(0, 80) + ": nothing of a device"};
}

// As far as PCI addresses are written differently: "0000:3b:00" and "00000000:3B:00.0".
bool same_device(std::string one, std::string other) {
  for (std::string* text : {&one, &other}) {
    std::ranges::transform(*text, text->begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    *text = text->substr(0, text->find('.'));
    if (text->find(':') == 8) text->erase(0, 4);
  }
  return one == other;
}

}  // namespace

Result<void> change_recorded_machine(RecordedMachine& machine, const std::string& change) {
  const json body = parse_json_text(change);
  if (!body.is_object() || body.size() < 2)
    return Error{Errc::kUnparsable, "gpu: give {\"device\": N, and what changes}"};
  const auto index = body.find("device");
  if (index == body.end() || !index->is_number_unsigned() ||
      *index >= machine.reading.devices.size())
    return Error{Errc::kInvalidField, "device: the recorded machine has devices 0 to " +
                                          std::to_string(machine.reading.devices.size() - 1)};
  RecordedMachine changed = machine;
  DeviceReading& device = changed.reading.devices[index->get<std::size_t>()];
  for (const auto& [key, value] : body.items())
    if (key != "device")
      if (const auto problem = change_device(changed, device, key, value)) return *problem;
  machine = std::move(changed);
  return {};
}

void reset_recorded_devices(RecordedMachine& machine, const std::vector<std::string>& devices,
                            bool restart) {
  if (restart) machine.hangs_at = -1;
  for (DeviceReading& device : machine.reading.devices) {
    const bool is_meant =
        restart || devices.empty() || std::ranges::any_of(devices, [&](const std::string& one) {
          return same_device(one, device.pci);
        });
    if (!is_meant) continue;
    const auto found = machine.cured_by.find(device.pci);
    const auto by = found == machine.cured_by.end() ? RecordedMachine::Cure::kReset : found->second;
    if (by == RecordedMachine::Cure::kNothing) continue;
    if (by == RecordedMachine::Cure::kReboot && !restart) continue;
    cure(machine, device, restart);
  }
}

}  // namespace holdfast
