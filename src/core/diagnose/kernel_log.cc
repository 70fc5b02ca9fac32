#include "core/diagnose/kernel_log.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <vector>

#include "core/diagnose/kernel_rules.h"
#include "core/diagnose/message_pattern.h"

namespace holdfast {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// Reads a number at the front of `text` and drops it from there.
template <class Integer>
std::optional<Integer> take_number(std::string_view& text, int base = 10) {
  Integer value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

struct IndexedRule {
  const KernelRule* rule;
  std::string_view head;  // what a message must begin with
};

// Plain rules by the first character of their message, in the order of the table.
struct RuleIndex {
  std::array<std::vector<IndexedRule>, 256> plain;
  std::vector<IndexedRule> of_devices;

  RuleIndex() {
    for (const KernelRule& rule : kernel_rules()) {
      if (rule.driver.empty())
        plain[static_cast<unsigned char>(rule.pattern.front())].push_back(
            {&rule, literal_head(rule.pattern)});
      else
        of_devices.push_back({&rule, literal_head(rule.pattern)});
    }
  }
};
const RuleIndex kIndex;

// "(PCI:0000:b9:00): ": the address, without "PCI:" and what follows a space (an instance of MIG).
// Empty when it is none; `text` goes on behind it.
std::string_view take_address(std::string_view& text) {
  if (!take_prefix(text, "(")) return {};
  const auto close = text.find("): ");
  if (close == std::string_view::npos) return {};
  std::string_view address = text.substr(0, close);
  text.remove_prefix(close + 3);
  take_prefix(address, "PCI:");
  address = address.substr(0, address.find(' '));
  const bool valid =
      address.find(':') != std::string_view::npos &&
      std::ranges::all_of(address, [](char c) { return is_hex(c) || c == ':' || c == '.'; });
  return valid ? address : std::string_view{};
}

// A code and what ends it: a cut-off "7" must not pass for Xid 7.
std::optional<std::int32_t> take_code(std::string_view& text) {
  const auto code = take_number<std::int32_t>(text);
  if (!code || *code < 0 || (!take_prefix(text, ",") && !text.starts_with(" "))) return {};
  return code;
}

std::int32_t pid_in(std::string_view text) {
  const auto at = text.find("pid=");
  if (at == std::string_view::npos) return 0;
  text.remove_prefix(at + 4);
  take_prefix(text, "'");
  return std::max(take_number<std::int32_t>(text).value_or(0), 0);
}

KernelFinding of_code(std::string_view kind, std::int32_t code, std::string_view device,
                      const std::optional<CodeRule>& rule, std::string_view source) {
  KernelFinding finding;
  finding.fault = {.kind = std::string(kind), .code = code, .device = std::string(device)};
  finding.fault.cause = rule ? rule->cause : CauseClass::kUnknown;
  finding.fault.action = rule ? rule->action : Action::kAskOperator;
  finding.meaning = rule ? rule->meaning : "a code that is not documented";
  finding.source = rule ? rule->source : source;
  return finding;
}

std::optional<KernelFinding> read_xid(std::string_view rest) {
  const std::string_view device = take_address(rest);
  if (device.empty()) return std::nullopt;
  const auto code = take_code(rest);
  if (!code) return std::nullopt;
  KernelFinding finding = of_code("xid", *code, device, xid_rule(*code), kXidSource);
  finding.fault.pid = pid_in(rest);
  constexpr std::int32_t kFirstNvlink5 = 144, kLastNvlink5 = 150, kRecoveryAction = 154;
  std::optional<Action> action = finding.fault.action;
  if (*code == kRecoveryAction) action = xid154_action(rest);
  if (*code >= kFirstNvlink5 && *code <= kLastNvlink5) action = nvlink5_action(*code, rest);
  if (!action) return std::nullopt;
  finding.fault.action = *action;
  return finding;
}

// "nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32 ..."
std::optional<KernelFinding> read_sxid(std::string_view rest) {
  const auto colon = rest.find(": SXid ");
  constexpr std::size_t kNameMax = 8;
  if (colon == std::string_view::npos || colon > kNameMax) return std::nullopt;
  rest.remove_prefix(colon + 7);
  const std::string_view device = take_address(rest);
  if (device.empty()) return std::nullopt;
  const auto code = take_code(rest);
  if (!code) return std::nullopt;
  const auto rule = sxid_rule(*code);
  KernelFinding finding = of_code("sxid", *code, device, rule, kSxidHeader);
  if (!rule) return finding;
  take_prefix(rest, " ");
  Action& action = finding.fault.action;
  if (take_prefix(rest, "Fatal, ")) {
    if (action < Action::kResetDevice || action == Action::kAskOperator)
      action = Action::kResetDevice;
  } else if (rest.starts_with("Non-fatal, ")) {
    // "Potentially fatal" in the guide, but not this time. The milder ones stay what they are.
    if (rule->source != kSxidGuide || action == Action::kRebootNode) action = Action::kNone;
  } else if (rule->source != kSxidGuide &&
             (rest.starts_with("Severity ") || rest.starts_with("Data {"))) {
    action = Action::kNone;  // details of the line before
  }
  return finding;
}

// "mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 5: be00000000800400": the bank's status
// tells whether the error was corrected (Intel SDM, IA32_MCi_STATUS: bit 63 valid, bit 61
// uncorrected).
std::optional<KernelFinding> read_machine_check(std::string_view rest) {
  constexpr std::string_view kSource = "Linux arch/x86/kernel/cpu/mce/core.c, Intel SDM volume 3";
  constexpr std::size_t kStatusDigits = 16;
  const auto cpu = take_number<std::uint32_t>(rest);
  if (!cpu || !take_prefix(rest, ": Machine Check")) return std::nullopt;
  const auto bank = rest.find(" Bank ");
  if (bank == std::string_view::npos) return std::nullopt;
  rest.remove_prefix(bank + 6);
  if (!take_number<std::uint32_t>(rest) || !take_prefix(rest, ": ")) return std::nullopt;
  const std::string_view digits = rest.substr(0, kStatusDigits);
  const auto status = take_number<std::uint64_t>(rest, 16);
  if (!status || digits.size() < kStatusDigits) return std::nullopt;
  const bool uncorrected = (*status >> 61 & 1) != 0;
  KernelFinding finding;
  finding.fault = {.kind = "mce",
                   .device = "cpu" + std::to_string(*cpu),
                   .cause = CauseClass::kHost,
                   .action = uncorrected ? Action::kRebootNode : Action::kNone};
  finding.meaning = uncorrected ? "machine check: an error that could not be corrected"
                                : "machine check: an error that was corrected";
  finding.source = kSource;
  return finding;
}

KernelFinding of_rule(const KernelRule& rule, const PatternMatch& match, std::string_view device) {
  KernelFinding finding;
  finding.fault = {.kind = std::string(rule.kind),
                   .device = std::string(match.device.empty() ? device : match.device),
                   .pid = match.pid.value_or(0),
                   .cause = rule.cause,
                   .action = rule.action};
  if (rule.kind == "gpu_lost") finding.fault.code = 79;  // the Xid that it stands for
  finding.meaning = rule.meaning;
  finding.source = rule.source;
  return finding;
}

// How much the victim of an out-of-memory kill held: "anon-rss:4096kB".
std::uint64_t resident_bytes(std::string_view text) {
  const auto at = text.find("anon-rss:");
  if (at == std::string_view::npos) return 0;
  text.remove_prefix(at + 9);
  const auto kib = take_number<std::uint64_t>(text);
  constexpr std::uint64_t kMost = ~std::uint64_t{0} / 1024;
  return kib && *kib <= kMost && text.starts_with("kB") ? *kib * 1024 : 0;
}

std::optional<KernelFinding> by_plain_rules(std::string_view message) {
  for (const auto& [rule, head] : kIndex.plain[static_cast<unsigned char>(message.front())]) {
    if (!message.starts_with(head)) continue;
    const auto match = match_beginning(rule->pattern, message);
    if (!match) continue;
    KernelFinding finding = of_rule(*rule, *match, {});
    if (rule->kind == "oom") finding.fault.used_bytes = resident_bytes(message);
    return finding;
  }
  return std::nullopt;
}

// How long the PCI address "0000:3b:00.0" at the front is, 0 where there is none. A domain has four
// digits or more ("10000:e1:00.0").
std::size_t address_length(std::string_view text) {
  std::size_t at = 0;
  const auto take = [&](std::size_t least, std::size_t most, char end) {
    std::size_t digits = 0;
    while (at + digits < text.size() && is_hex(text[at + digits])) ++digits;
    at += digits;
    if (digits < least || digits > most || at >= text.size()) return false;
    return end == 0 || text[at++] == end;
  };
  return take(4, 8, ':') && take(2, 2, ':') && take(2, 2, '.') && take(1, 1, 0) ? at : 0;
}

// "poll_health:807:(pid 0): ", as mlx5's driver writes before many messages
void drop_function(std::string_view& text) {
  constexpr std::string_view kPid = ":(pid ";
  constexpr std::size_t kNameMax = 64;
  std::size_t at = 0;
  while (at < text.size() && at < kNameMax && text[at] != ' ' && text[at] != '(') ++at;
  if (at < kPid.size() || text.substr(at - 1, kPid.size()) != kPid) return;
  if (const auto end = text.find("): ", at); end != std::string_view::npos)
    text.remove_prefix(end + 3);
}

// "DRIVER 0000:3b:00.0: text" or "DRIVER 0000:3b:00.0 NAME: text"
std::optional<KernelFinding> by_device_rules(std::string_view message) {
  constexpr std::size_t kDriverMax = 32;
  const auto space = message.substr(0, kDriverMax).find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const std::string_view driver = message.substr(0, space);
  std::string_view rest = message.substr(space + 1);
  const std::string_view address = rest.substr(0, address_length(rest));
  if (address.empty()) return std::nullopt;
  rest.remove_prefix(address.size());
  const auto colon = rest.find(": ");
  if (colon == std::string_view::npos) return std::nullopt;
  rest.remove_prefix(colon + 2);
  drop_function(rest);
  for (const auto& [rule, head] : kIndex.of_devices) {
    if (!rest.starts_with(head) || (rule->driver != "*" && rule->driver != driver)) continue;
    if (const auto match = match_beginning(rule->pattern, rest))
      return of_rule(*rule, *match, address);
  }
  return std::nullopt;
}

std::optional<KernelFinding> find_in_message(std::string_view message) {
  if (message.empty()) return std::nullopt;
  std::string_view rest = message;
  if (take_prefix(rest, "NVRM: Xid ")) return read_xid(rest);
  if (take_prefix(rest, "nvidia-nvswitch")) return read_sxid(rest);
  if (take_prefix(rest, "mce: [Hardware Error]: CPU ") ||
      take_prefix(rest, "[Hardware Error]: CPU "))
    return read_machine_check(rest);
  if (auto finding = by_plain_rules(message)) return finding;
  return by_device_rules(message);
}

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// "[   12.345678] " and the "[ T7] " that CONFIG_PRINTK_CALLER adds.
void drop_brackets(std::string_view& text) {
  for (int i = 0; i < 2 && text.starts_with("["); ++i) {
    const auto close = text.find(']');
    constexpr std::size_t kStampMax = 40;
    if (close == std::string_view::npos || close > kStampMax || text.starts_with("[Hardware"))
      return;
    text.remove_prefix(close + 1);
    take_prefix(text, " ");
  }
}

// "kern  :err   : ", as dmesg --decode writes it
void drop_facility(std::string_view& line) {
  constexpr std::size_t kLength = 15;
  if (line.starts_with("kern  :") && line.substr(0, kLength).ends_with(": "))
    line.remove_prefix(kLength);
}

// "2026-11-24T12:00:00,123456+00:00 ", as dmesg --time-format iso writes it; other programs write
// a host and a name behind the date, and no comma in it.
void drop_iso_stamp(std::string_view& line) {
  constexpr std::size_t kComma = 19, kStampMax = 40;
  if (line.size() <= kComma || line[kComma] != ',' || line[10] != 'T') return;
  if (const auto end = line.substr(0, kStampMax).find(' '); end != std::string_view::npos)
    line.remove_prefix(end + 1);
}

// RFC 5424, behind its priority: "1 DATE HOST kernel - - - text", or "[...]" for the last dash.
// Empty for another program's.
std::string_view syslog_message(std::string_view line) {
  constexpr std::string_view kName = " kernel - - ";
  constexpr std::size_t kHeadMax = 160;
  const auto at = line.substr(0, kHeadMax).find(kName);
  if (at == std::string_view::npos) return {};
  line.remove_prefix(at + kName.size());
  const auto end = line.starts_with("[") ? line.find("] ") : line.find("- ");
  if (end == std::string_view::npos) return {};
  line.remove_prefix(end + 2);
  take_prefix(line, kByteOrderMark);
  drop_brackets(line);
  return line;
}

}  // namespace

std::string_view kernel_message(std::string_view line) {
  take_prefix(line, kByteOrderMark);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  if (line.empty()) return line;
  if (is_digit(line.front())) {  // /dev/kmsg; or a date, below
    constexpr std::size_t kHeadMax = 80;
    const auto semicolon = line.substr(0, kHeadMax).find(';');
    const auto comma = line.substr(0, 5).find(',');
    if (semicolon != std::string_view::npos && comma < semicolon) return line.substr(semicolon + 1);
  }
  if (line.front() == '<') {
    const auto close = line.substr(0, 6).find('>');
    if (close == std::string_view::npos) return {};
    line.remove_prefix(close + 1);
    if (line.starts_with("1 ")) return syslog_message(line);
  }
  drop_facility(line);
  drop_iso_stamp(line);
  drop_brackets(line);
  // syslog and journald: date, host, then the program, which must be the kernel.
  constexpr std::string_view kKernel = " kernel: ";
  constexpr std::size_t kHeadMax = 160;
  if (const auto at = line.substr(0, kHeadMax).find(kKernel);
      at != std::string_view::npos && at > 0 && line[at - 1] != ':' &&
      line.substr(0, at).find(": ") == std::string_view::npos) {
    line.remove_prefix(at + kKernel.size());
    drop_brackets(line);
  }
  return line;
}

std::optional<KernelFinding> find_in_kernel_line(std::string_view line) {
  // The kernel's own lines have at most 1 KiB; matching longer ones could take long.
  constexpr std::size_t kReadMax = 4096;
  auto finding = find_in_message(kernel_message(line.substr(0, kReadMax)));
  if (!finding) return std::nullopt;
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  finding->fault.line = std::string(line);
  return finding;
}

std::optional<Fault> read_kernel_line(std::string_view line) {
  auto finding = find_in_kernel_line(line);
  if (!finding) return std::nullopt;
  return std::move(finding->fault);
}

}  // namespace holdfast
