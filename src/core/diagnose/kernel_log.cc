#include "core/diagnose/kernel_log.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>

namespace holdfast {
namespace {

struct XidRule {
  std::int32_t code;
  CauseClass cause;
  Action action;  // the recovery action that NVIDIA's XID catalogue gives
};

// Source: NVIDIA, "GPU Debug Guidelines" and the XID catalogue of the driver documentation. The
// user application's own faults (13, 31, 43, 45) touch no node: ByteDance found 41 of 62 illegal
// memory accesses to be user code (SOSP'25, table 2).
constexpr auto kXidRules = std::to_array<XidRule>({
    {13, CauseClass::kApplication, Action::kNone},          // graphics engine exception
    {31, CauseClass::kApplication, Action::kNone},          // memory page fault
    {43, CauseClass::kApplication, Action::kNone},          // GPU stopped processing
    {45, CauseClass::kApplication, Action::kNone},          // preemptive cleanup after an error
    {48, CauseClass::kAccelerator, Action::kResetDevice},   // double-bit ECC error
    {63, CauseClass::kAccelerator, Action::kNone},          // row remapping recorded
    {64, CauseClass::kAccelerator, Action::kResetDevice},   // row remapping failed
    {74, CauseClass::kInterconnect, Action::kResetDevice},  // NVLink error
    {79, CauseClass::kAccelerator, Action::kReplaceNode},   // fallen off the bus
    {94, CauseClass::kAccelerator, Action::kNone},          // contained ECC error
    {95, CauseClass::kAccelerator, Action::kResetDevice},   // uncontained ECC error
    {119, CauseClass::kAccelerator, Action::kResetDevice},  // GSP RPC timeout
    {120, CauseClass::kAccelerator, Action::kResetDevice},  // GSP error
});

// Reads a number at the front of `text` and drops it from there.
template <class Integer>
std::optional<Integer> take_number(std::string_view& text) {
  Integer value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<Fault> read_xid(std::string_view line, std::string_view rest) {
  if (!take_prefix(rest, "(")) return std::nullopt;
  const auto close = rest.find("): ");
  if (close == std::string_view::npos || close == 0) return std::nullopt;
  std::string_view device = rest.substr(0, close);
  take_prefix(device, "PCI:");
  rest.remove_prefix(close + 3);
  const auto code = take_number<std::int32_t>(rest);
  // The comma shows that the number is whole: a cut-off "7" must not pass for Xid 7.
  if (!code || !rest.starts_with(",")) return std::nullopt;

  Fault fault{
      .kind = "xid", .code = *code, .device = std::string(device), .line = std::string(line)};
  if (const auto pid = rest.find("pid="); pid != std::string_view::npos) {
    std::string_view digits = rest.substr(pid + 4);
    take_prefix(digits, "'");
    fault.pid = take_number<std::int32_t>(digits).value_or(0);
  }
  const auto* rule = std::find_if(kXidRules.begin(), kXidRules.end(),
                                  [&](const XidRule& r) { return r.code == *code; });
  fault.cause = rule == kXidRules.end() ? CauseClass::kUnknown : rule->cause;
  fault.action = rule == kXidRules.end() ? Action::kAskOperator : rule->action;
  return fault;
}

std::optional<Fault> read_oom_kill(std::string_view line, std::string_view rest) {
  const auto pid = take_number<std::int32_t>(rest);
  if (!pid || !rest.starts_with(" (")) return std::nullopt;
  Fault fault{.kind = "oom_kill",
              .pid = *pid,
              .cause = CauseClass::kOutOfMemory,
              .action = Action::kRestartRanks,
              .line = std::string(line)};
  if (const auto rss = rest.find("anon-rss:"); rss != std::string_view::npos) {
    rest.remove_prefix(rss + 9);
    if (const auto kib = take_number<std::uint64_t>(rest); kib && rest.starts_with("kB"))
      fault.used_bytes = *kib * 1024;
  }
  return fault;
}

}  // namespace

std::optional<Fault> read_kernel_line(std::string_view line) {
  constexpr std::string_view kXid = "NVRM: Xid ";
  constexpr std::string_view kKilled = "ut of memory: Killed process ";  // with and without cgroup
  if (const auto at = line.find(kXid); at != std::string_view::npos)
    return read_xid(line, line.substr(at + kXid.size()));
  if (const auto at = line.find(kKilled); at != std::string_view::npos)
    return read_oom_kill(line, line.substr(at + kKilled.size()));
  return std::nullopt;
}

}  // namespace holdfast
