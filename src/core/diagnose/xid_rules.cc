// NVIDIA Xids: one row per code of NVIDIA's catalogue (Ampere and newer; read 2026-11-24).

#include <algorithm>
#include <array>

#include "core/diagnose/kernel_rules.h"

namespace holdfast {
namespace {

struct Row {
  std::int32_t code;
  XidBucket bucket;
  CauseClass cause;
  std::string_view meaning;
  std::string_view note = {};  // why, where the bucket alone does not tell
};

constexpr std::string_view kUnused = "not used by Ampere and newer GPUs";
constexpr std::string_view kDecoder = "a video or JPEG decoder engine reported an error";
constexpr std::string_view kCopyEngine = "a copy engine reported an error";
constexpr std::string_view kPowerSmoothing =
    "power smoothing only: the GPU computes on; whether power swings matter is the site's decision";
constexpr std::string_view kConfidential = "only in confidential-computing mode";

constexpr Row unused(std::int32_t code) {
  return {code, XidBucket::kContactSupport, CauseClass::kUnknown, kUnused};
}
constexpr Row engine(std::int32_t code, std::string_view meaning) {
  return {code, XidBucket::kRestartApp, CauseClass::kAccelerator, meaning};
}

using enum XidBucket;
constexpr auto kApp = CauseClass::kApplication;
constexpr auto kGpu = CauseClass::kAccelerator;
constexpr auto kLink = CauseClass::kInterconnect;
constexpr auto kDriver = CauseClass::kHost;
constexpr auto kNobody = CauseClass::kUnknown;

// tidy: allow function, because a table is no function
constexpr auto kRows = std::to_array<Row>({
    unused(1),
    unused(2),
    unused(3),
    unused(4),
    unused(5),
    unused(6),
    unused(7),
    {8, kRestartApp, kGpu, "the GPU stopped processing a channel"},
    unused(9),
    unused(10),
    {11, kRestartApp, kApp, "invalid or corrupted command stream"},
    unused(12),
    {13, kRestartApp, kApp, "graphics engine exception: most often an access out of bounds",
     "ByteDance found 41 of 62 illegal memory accesses to be user code (SOSP'25, table 2)"},
    {14, kIgnore, kApp, "an error injected from user space"},
    unused(15),
    unused(16),
    unused(17),
    unused(18),
    unused(19),
    unused(20),
    unused(21),
    unused(22),
    unused(23),
    unused(24),
    {25, kRestartApp, kApp, "invalid or illegal command stream"},
    unused(26),
    unused(27),
    unused(28),
    unused(29),
    unused(30),
    {31, kRestartApp, kApp, "GPU memory page fault: an illegal address, most often of the program",
     "ByteDance found 41 of 62 illegal memory accesses to be user code (SOSP'25, table 2)"},
    {32, kRestartApp, kGpu, "corrupted command stream between driver and GPU, over PCIe"},
    unused(33),
    unused(34),
    unused(35),
    unused(36),
    {37, kIgnore, kApp, "driver firmware error: an unimplemented method was asked for"},
    {38, kIgnore, kDriver, "driver firmware watchdog"},
    engine(39, kCopyEngine),
    engine(40, kCopyEngine),
    engine(41, kCopyEngine),
    unused(42),
    {43, kIgnore, kApp, "the program hit a fault of its own and ended; the GPU is healthy"},
    {44, kIgnore, kApp, "engine fault during a context switch"},
    {45, kWorkflow45, kApp, "the driver cleaned up after a program that ended",
     "an echo: a kill, Ctrl-C or another Xid came before it"},
    {46, kResetGpu, kGpu, "the GPU stopped processing and timed out"},
    unused(47),
    {48, kWorkflow48, kGpu, "double-bit ECC error: memory that could not be corrected",
     "NVIDIA's workflow: reset the GPU (with Xid 63 or 64: drain first)"},
    unused(49),
    unused(50),
    unused(51),
    unused(52),
    unused(53),
    {54, kCheckMechanicals, kGpu, "auxiliary power is not connected to the GPU board",
     "someone must look at cable and seat; vendors split between replacing and looking"},
    unused(55),
    unused(56),
    unused(57),
    unused(58),
    unused(59),
    engine(60, "the security engine (SEC2) reported an error"),
    unused(61),
    {62, kResetGpu, kGpu, "internal micro-controller halted"},
    {63, kIgnore, kGpu, "a faulty memory row was recorded for remapping",
     "the remap takes effect at the next reset; the GPU may go on until then"},
    {64, kResetGpu, kGpu, "a faulty memory row could not be remapped"},
    unused(65),
    {66, kIgnore, kDriver, "illegal register access by the driver"},
    {67, kIgnore, kDriver, "illegal access by the driver"},
    engine(68, kDecoder),
    {69, kRestartApp, kApp, "graphics engine class error"},
    engine(70, kCopyEngine),
    engine(71, kCopyEngine),
    engine(72, kCopyEngine),
    unused(73),
    {74, kWorkflowNvlink, kLink, "NVLink error between this GPU and a peer or a switch",
     "cleared by a GPU reset; the far end of the link may be the cause"},
    engine(75, kCopyEngine),
    engine(76, kCopyEngine),
    engine(77, kCopyEngine),
    {78, kUpdateSoftware, kDriver, "a vGPU could not start: driver and guest do not match"},
    {79, kRestartBm, kGpu, "the GPU has fallen off the bus: PCIe no longer reaches it",
     "NVIDIA restarts the machine first; other vendors replace it at once, so the milder goes "
     "first"},
    {80, kRestartApp, kApp, "corrupted data was sent to the GPU"},
    unused(81),
    engine(82, kDecoder),
    engine(83, kDecoder),
    engine(84, kDecoder),
    engine(85, kCopyEngine),
    engine(86, "the optical-flow engine reported an error"),
    unused(87),
    engine(88, kDecoder),
    engine(89, kDecoder),
    unused(90),
    unused(91),
    {92, kIgnore, kGpu, "high rate of single-bit ECC errors, all corrected"},
    {93, kIgnore, kGpu, "the wear limit of the InfoROM was reached"},
    {94, kRestartApp, kGpu, "memory error, contained to one program",
     "the other programs are not affected; a reset when convenient"},
    {95, kResetGpu, kGpu, "memory error that was not contained: all programs are affected"},
    engine(96, kDecoder),
    engine(97, kDecoder),
    engine(98, kDecoder),
    engine(99, kDecoder),
    engine(100, kDecoder),
    engine(101, kDecoder),
    engine(102, kDecoder),
    engine(103, kDecoder),
    engine(104, kDecoder),
    engine(105, kDecoder),
    {106, kIgnore, kNobody, "test message of the management interface"},
    {107, kIgnore, kNobody, "silent test message of the management interface"},
    {108, kIgnore, kNobody, kUnused},
    {109, kResetGpu, kGpu, "context switch timeout"},
    {110, kResetGpu, kGpu, "security fault"},
    unused(111),
    unused(112),
    unused(113),
    unused(114),
    unused(115),
    unused(116),
    unused(117),
    unused(118),
    {119, kResetGpu, kGpu, "the GPU's system processor did not answer an RPC in time"},
    {120, kResetGpu, kGpu, "error in the GPU's system processor"},
    {121, kIgnore, kLink, "corrected errors on the link between GPU and Grace CPU",
     "no operational effect; a reset at a service window retrains the link"},
    unused(122),
    unused(123),
    unused(124),
    unused(125),
    engine(126, kCopyEngine),
    engine(127, kCopyEngine),
    engine(128, kCopyEngine),
    engine(129, kCopyEngine),
    engine(130, kCopyEngine),
    engine(131, kCopyEngine),
    engine(132, kCopyEngine),
    engine(133, kCopyEngine),
    engine(134, kCopyEngine),
    engine(135, kCopyEngine),
    {136, kResetGpu, kLink, "NVLink training failed"},
    {137, kIgnore, kApp, "a peer's access over NVLink was refused: most often an illegal address"},
    unused(138),
    engine(139, "the optical-flow engine reported an error"),
    {140, kResetGpu, kGpu, "uncorrectable ECC errors came too fast to take the pages out of use"},
    {141, kIgnore, kApp, "error on CUDA's fast path"},
    {142, kContactSupport, kGpu, "a video encoder engine reported an error"},
    {143, kResetGpu, kGpu, "the GPU could not be initialized"},
    {144, kWorkflowNvlink5, kLink, "NVLink 5: SAW error"},
    {145, kWorkflowNvlink5, kLink, "NVLink 5: RLW error"},
    {146, kWorkflowNvlink5, kLink, "NVLink 5: TLW error"},
    {147, kWorkflowNvlink5, kLink, "NVLink 5: TREX error"},
    {148, kWorkflowNvlink5, kLink, "NVLink 5: NVLPW_CTRL error"},
    {149, kWorkflowNvlink5, kLink, "NVLink 5: NETIR error (link down, bit errors)"},
    {150, kWorkflowNvlink5, kLink, "NVLink 5: MSE error"},
    {151, kRestartVm, kGpu, "key rotation error",
     "the machine that owns the GPU is restarted; no reset and no repair is needed"},
    {152, kIgnore, kGpu, "error of the deep-learning accelerator's memory unit"},
    {153, kIgnore, kGpu, "timeout of the deep-learning accelerator"},
    {154, kXid154, kGpu, "the recovery action that the driver asks for has changed",
     "the text names the action: none, drain, GPU reset, node reboot"},
    {155, kResetGpu, kLink, "NVLink: error defined by software, such as a link taken down"},
    {156, kResetGpu, kGpu, "a part of the GPU was taken out of use"},
    {157, kIgnore, kGpu, "a part of the GPU could not be taken out of use",
     "work may go on; the same Xid may come again"},
    {158, kResetGpu, kGpu, "fatal timeout inside the GPU"},
    {159, kCheckUvm, kGpu, "error on the coherent link to the CPU, without data",
     "NVIDIA resets only where vGPU is in use, and ignores it elsewhere"},
    {160, kIgnore, kGpu, "a memory channel was taken out of use"},
    {161, kIgnore, kGpu, "a memory channel could not be taken out of use"},
    {162, kIgnore, kGpu, "power smoothing is on again", kPowerSmoothing},
    {163, kIgnore, kGpu, "power smoothing went off, for heat or a timeout", kPowerSmoothing},
    {164, kIgnore, kGpu, "power smoothing nears the end of its life", kPowerSmoothing},
    {165, kIgnore, kGpu, "power smoothing is worn out", kPowerSmoothing},
    {166, kNotGiven, kLink, "NVLink traffic before encryption was set up", kConfidential},
    {167, kNotGiven, kGpu, "fatal PCIe timeout"},
    {168, kNotGiven, kGpu, "errors in the protected memory region; less memory is usable",
     "ECC should be switched on, which is a person's decision"},
    {169, kNotGiven, kGpu, "security micro-controller halted"},
    {170, kNotGiven, kLink, "NVLink interrupt in confidential-computing mode", kConfidential},
    {171, kWorkflow48, kGpu, "uncorrectable error in DRAM: details of an Xid 48",
     "it comes with an Xid 48 and is cured as that one"},
    {172, kWorkflow48, kGpu, "uncorrectable error in SRAM: details of an Xid 48",
     "it comes with an Xid 48 and is cured as that one"},
});

constexpr auto kCodes = [] {
  std::array<std::int32_t, kRows.size()> codes{};
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = kRows[i].code;
  return codes;
}();

Action action_of(const Row& row) {
  switch (row.bucket) {
    case kIgnore:
    case kWorkflow45:
    case kCheckUvm:
      return Action::kNone;
    case kRestartApp:
      // A program's own fault is judged by how its ranks end; here it asks nothing of anyone.
      return row.cause == kApp ? Action::kNone : Action::kRestartRanks;
    case kResetGpu:
    case kWorkflow48:
    case kWorkflowNvlink:
    case kWorkflowNvlink5:
      return Action::kResetDevice;
    case kRestartVm:
    case kRestartBm:
      return Action::kRebootNode;
    case kXid154:
    case kCheckMechanicals:
    case kUpdateSoftware:
    case kContactSupport:
    case kNotGiven:
      return Action::kAskOperator;
  }
  return Action::kAskOperator;
}

std::string_view why_of(const Row& row) {
  if (!row.note.empty()) return row.note;
  switch (row.bucket) {
    case kIgnore:
    case kWorkflow45:
    case kCheckUvm:
      return "NVIDIA: no action is required";
    case kRestartApp:
      return "NVIDIA: the program is restarted; neither a reset nor a reboot is needed";
    case kResetGpu:
    case kWorkflow48:
    case kWorkflowNvlink:
      return "NVIDIA: a reset of the GPU cures it; a reboot is not needed";
    case kWorkflowNvlink5:
      return "by sub-component, severity and registers in the line (catalogue, XID 144-150 decode)";
    case kRestartVm:
    case kRestartBm:
      return "NVIDIA: the machine is restarted";
    case kXid154:
    case kCheckMechanicals:
    case kUpdateSoftware:
    case kContactSupport:
      return "NVIDIA gives no cure that a machine could carry out";
    case kNotGiven:
      return "NVIDIA's catalogue lists the code without an action";
  }
  return {};
}

// One row of the catalogue's sheet for Xids 144-150. An empty component or zero status: any.
struct NvlinkRow {
  std::int32_t xid;
  std::string_view component;  // before the "/" or after it: drivers before and from R575
  std::uint32_t status;        // bits of the second register
  Action action;
};
constexpr auto kReset = Action::kResetDevice;
constexpr auto kRestart = Action::kRestartRanks;  // XID_154_EVAL: RESTART_APP, unless a 154 follows
constexpr auto kNothing = Action::kNone;

constexpr auto kNvlinkRows = std::to_array<NvlinkRow>({
    {144, "SAW_MVB", 0x12, kReset},
    {144, "SAW_MVB", 0x2d, kNothing},
    {145, "RLW_CTRL", 0x80000000, kNothing},
    {145, "RLW_REMAP", 0xc0, kReset},
    {145, "RLW_REMAP", 0x3f, kRestart},
    {145, "RLW_REMAP", 0x80000300, kNothing},
    {145, "RLW_RSPCOL", 0x2, kReset},
    {145, "RLW_RSPCOL", 0x80000001, kNothing},
    {145, "RLW_RXPIPE", 0x8000000f, kNothing},
    {145, "RLW_SRC_TRACK", 0x31, kReset},
    {145, "RLW_SRC_TRACK", 0xc, kRestart},
    {145, "RLW_SRC_TRACK", 0x80000002, kNothing},
    {145, "RLW_TAGSTATE", 0x120002, kReset},
    {145, "RLW_TAGSTATE", 0x80010001, kNothing},
    {146, "TLW_CTRL", 0x4, kReset},
    {146, "TLW_CTRL", 0x80000003, kNothing},
    {146, "TLW_RX", 0x4, kReset},
    {146, "TLW_RX", 0x80000003, kNothing},
    {146, "TLW_TX", 0x4, kReset},
    {146, "TLW_TX", 0x80000003, kNothing},
    {147, "TREX", 0x80000001, kNothing},
    {148, "NVLPW", 0x80000000, kNothing},
});

// "0x..." registers inside the parentheses; the first two are IntrInfo and ErrorStatus.
struct Registers {
  std::array<std::uint32_t, 2> value{};
  int count = 0;
};

Registers registers_in(std::string_view text) {
  Registers registers;
  const auto open = text.rfind('(');
  if (open == std::string_view::npos) return registers;
  text.remove_prefix(open + 1);
  while (registers.count < 2) {
    const auto at = text.find("0x");
    if (at == std::string_view::npos) break;
    text.remove_prefix(at + 2);
    std::uint32_t value = 0;
    std::size_t digits = 0;
    for (; digits < text.size() && digits < 8; ++digits) {
      const char c = text[digits];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      value = value << 4 | static_cast<std::uint32_t>(digit);
    }
    if (digits == 0) break;
    registers.value[static_cast<std::size_t>(registers.count++)] = value;
    text.remove_prefix(digits);
  }
  return registers;
}

// Why a link went down, bits 20-25 of IntrInfo: two reasons need nothing here.
Action link_down_action(std::uint32_t intr_info) {
  constexpr std::uint32_t kByOwnSoftware = 0b100110, kHostFault = 0b101000;
  const std::uint32_t reason = intr_info >> 20 & 0x3f;
  return reason == kByOwnSoftware || reason == kHostFault ? kNothing : kReset;
}

std::optional<Action> by_registers(std::int32_t xid, std::string_view component,
                                   const Registers& registers) {
  if (xid == 150) return kReset;
  if (registers.count == 0) return std::nullopt;
  const auto [intr_info, status] = registers.value;
  if (xid == 149) {
    if (component.starts_with("NETIR_LINK")) return link_down_action(intr_info);
    if (component.starts_with("NETIR_BER")) return kNothing;
    if (component.starts_with("NETIR_MFDE")) return status == 3 ? kNothing : kReset;
    if (component.starts_with("NETIR")) return kReset;
    return std::nullopt;
  }
  // An error of the receive pipe that was promoted to a fatal one: bit 10 before R575 (whose low
  // ten bits are unlike the newer ones), bit 7 since.
  constexpr std::uint32_t kOldPipe = 0b0011000010, kNewPipe = 0b0000110;
  if (component == "RLW_RXPIPE" &&
      ((intr_info & 0x7ff) == (1u << 10 | kOldPipe) || (intr_info & 0xff) == (1u << 7 | kNewPipe)))
    return kReset;
  if (registers.count < 2) return std::nullopt;
  std::optional<Action> worst;
  for (const NvlinkRow& row : kNvlinkRows)
    if (row.xid == xid && component.starts_with(row.component) && (status & row.status) != 0)
      worst = std::max(worst.value_or(kNothing), row.action);
  return worst;
}

}  // namespace

std::span<const std::int32_t> xid_codes() {
  return kCodes;
}

std::optional<CodeRule> xid_rule(std::int32_t code) {
  const auto row = std::ranges::lower_bound(kRows, code, {}, &Row::code);
  if (row == kRows.end() || row->code != code) return std::nullopt;
  return CodeRule{code,         row->cause, action_of(*row), row->meaning, word_of(row->bucket),
                  why_of(*row), kXidSource};
}

std::optional<Action> xid154_action(std::string_view text) {
  // The words of NVIDIA's catalogue, then those of NVML's recovery actions.
  constexpr auto kActions = std::to_array<std::pair<std::string_view, Action>>(
      {{"None", Action::kNone},
       {"Drain P2P", Action::kRestartRanks},
       {"Drain and Reset", Action::kResetDevice},
       {"GPU Reset Required", Action::kResetDevice},
       {"GPU Reset", Action::kResetDevice},
       {"Node Reboot Required", Action::kRebootNode},
       {"Node Reboot", Action::kRebootNode},
       {"OS Reboot", Action::kRebootNode}});
  const auto to = text.rfind(" to 0x");
  if (to == std::string_view::npos) return std::nullopt;
  text.remove_prefix(to);
  const auto open = text.find('('), close = text.find(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return std::nullopt;
  const std::string_view word = text.substr(open + 1, close - open - 1);
  for (const auto& [known, action] : kActions)
    if (word == known) return action;
  return Action::kAskOperator;
}

std::optional<Action> nvlink5_action(std::int32_t xid, std::string_view text) {
  const bool opened = text.find('(') != std::string_view::npos;
  if (opened && text.find(')') == std::string_view::npos) return std::nullopt;
  // Old and new drivers put a comma, a process or nothing before the component.
  std::string_view component;
  for (const std::string_view known : {"SAW_", "RLW_", "TLW_", "TREX", "NVLPW", "NETIR", "MSE"}) {
    const auto at = text.find(known);
    if (at == std::string_view::npos) continue;
    component = text.substr(at);
    break;
  }
  component = component.substr(0, component.find_first_of(" ,("));
  if (const auto action = by_registers(xid, component, registers_in(text))) return action;
  // Not in the sheet: what the line itself says. A fatal one leaves the GPU in need of a reset.
  if (text.find("Nonfatal ") != std::string_view::npos ||
      text.find("Non-fatal ") != std::string_view::npos)
    return kNothing;
  if (text.find("Fatal ") != std::string_view::npos) return kReset;
  return opened ? std::optional(Action::kAskOperator) : std::nullopt;
}

}  // namespace holdfast
