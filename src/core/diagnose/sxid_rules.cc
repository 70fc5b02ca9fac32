// NVSwitch SXids: those that NVIDIA's Fabric Manager guide treats one by one, and the numbers that
// the open driver defines. For the latter the line's own word (Fatal, Non-fatal) decides.

#include <algorithm>
#include <array>

#include "core/diagnose/kernel_rules.h"

namespace holdfast {
namespace {

struct Row {
  std::int32_t code;
  CauseClass cause;
  Action action;
  std::string_view meaning;
};

constexpr auto kLink = CauseClass::kInterconnect;
constexpr auto kHeat = CauseClass::kThermal;
constexpr auto kNone = Action::kNone;
constexpr auto kReset = Action::kResetDevice;
constexpr auto kReboot = Action::kRebootNode;

constexpr std::string_view kCorrected = "single-bit ECC errors inside the switch, corrected";
constexpr std::string_view kUncorrected = "an ECC error inside the switch could not be corrected";
constexpr std::string_view kBuffer = "a buffer of the switch's crossbar overflowed or underflowed";
constexpr std::string_view kCredit = "flow-control credits of the crossbar are wrong";
constexpr std::string_view kPacket = "a malformed packet inside the crossbar";

// tidy: allow function, because a table is no function
constexpr auto kRows = std::to_array<Row>({
    {10001, kLink, kNone, "the switch refused a register access of the host"},
    {10002, kLink, kNone, "a register access of the host timed out"},
    {10003, kLink, kReset, "the switch raised an interrupt that nobody handles"},
    {10004, kHeat, kNone, "the switch is hot and slows its links down"},
    {10005, kHeat, kNone, "the switch has cooled down"},
    {11001, kLink, kReset, "ingress: invalid command"},
    {11004, kLink, Action::kAskOperator, "ingress: the partition's routing refuses the packet"},
    {11009, kLink, kReset, "ingress: invalid virtual channel"},
    {11012, kLink, kNone, kCorrected},
    {11013, kLink, kReset, kUncorrected},
    {11018, kLink, kReset, kUncorrected},
    {11019, kLink, kReset, kUncorrected},
    {11020, kLink, kReset, "ingress: control parity error"},
    {11021, kLink, kNone, kCorrected},
    {11022, kLink, kNone, kCorrected},
    {11023, kLink, kNone, kCorrected},
    {12001, kLink, kReset, "egress: crossbar overflow"},
    {12002, kLink, kReset, "egress: packet on a wrong route"},
    {12020, kLink, kReboot, "egress: sequence number is wrong"},
    {12021, kLink, kNone, kCorrected},
    {12022, kLink, kReset, kUncorrected},
    {12023, kLink, kNone, kCorrected},
    {12024, kLink, kReset, kUncorrected},
    {12025, kLink, kReset, "egress: credit overflow"},
    {12026, kLink, kReset, "egress: a request for another destination"},
    {12027, kLink, kReset, "egress: a response for another destination"},
    {12028, kLink, Action::kRestartRanks,
     "egress: an access without permission; its GPU will hang"},
    {12030, kLink, kReset, "egress: control parity error"},
    {12031, kLink, kReset, "egress: credit parity error"},
    {12032, kLink, kReset, "egress: flit of a wrong type"},
    {14017, kLink, kReset, "a transaction timed out inside the switch"},
    {15001, kLink, kReset, "a route buffer overflowed or underflowed"},
    {15006, kLink, kReset, "counters of finished transactions are wrong"},
    {15008, kLink, kNone, kCorrected},
    {15009, kLink, kReset, kUncorrected},
    {15010, kLink, kReset, "route: parity error"},
    {15011, kLink, kNone, kCorrected},
    {15012, kLink, kReset, kUncorrected},
    {15013, kLink, kReset, "route: credit parity error"},
    {19047, kLink, kReset, kUncorrected},
    {19048, kLink, kReset, kUncorrected},
    {19049, kLink, kNone, kCorrected},
    {19054, kLink, kReset, kUncorrected},
    {19055, kLink, kNone, kCorrected},
    {19056, kLink, kReset, kUncorrected},
    {19057, kLink, kNone, kCorrected},
    {19058, kLink, kReset, kUncorrected},
    {19059, kLink, kNone, kCorrected},
    {19060, kLink, kReset, kUncorrected},
    {19061, kLink, kReset, kUncorrected},
    {19062, kLink, kNone, kCorrected},
    {19063, kLink, kReset, kUncorrected},
    {19064, kLink, kReset, kUncorrected},
    {19065, kLink, kNone, kCorrected},
    {19066, kLink, kReset, kUncorrected},
    {19067, kLink, kReset, kUncorrected},
    {19068, kLink, kNone, kCorrected},
    {19069, kLink, kReset, kUncorrected},
    {19070, kLink, kReset, kUncorrected},
    {19071, kLink, kNone, kCorrected},
    {19084, kLink, kReset, "no heartbeat on a link; a fatal error comes with it"},
    {20001, kLink, kNone, "packets were sent again"},
    {20012, kLink, kNone, "bad checksums on a link: a shutdown, or a loose connection"},
    {20034, kLink, kReset, "a link went down while it was in use"},
    {22003, kLink, kReboot, "the link micro-controller halted"},
    {22011, kLink, kReboot, "the link micro-controller had an external error"},
    {22012, kLink, kReset, "the link micro-controller raised a fatal link interrupt"},
    {22013, kLink, kNone, "a request of the link micro-controller; harmless"},
    {23001, kLink, kReboot, kBuffer},
    {23002, kLink, kReboot, kBuffer},
    {23003, kLink, kReboot, kCredit},
    {23004, kLink, kReboot, kCredit},
    {23005, kLink, kReboot, kPacket},
    {23006, kLink, kReboot, kPacket},
    {23007, kLink, kReboot, kPacket},
    {23008, kLink, kReboot, kPacket},
    {23009, kLink, kReboot, kPacket},
    {23010, kLink, kReboot, kBuffer},
    {23011, kLink, kReboot, kBuffer},
    {23012, kLink, kReboot, kCredit},
    {23013, kLink, kReboot, kCredit},
    {23014, kLink, kReboot, kPacket},
    {23015, kLink, kReboot, kPacket},
    {23016, kLink, kReboot, kPacket},
    {23017, kLink, kReboot, kCredit},
    {24001, kLink, kNone, kCorrected},
    {24002, kLink, kNone, kCorrected},
    {24003, kLink, kNone, kCorrected},
    {24004, kLink, kReset, kUncorrected},
    {24005, kLink, kReset, kUncorrected},
    {24006, kLink, kReset, kUncorrected},
    {24007, kLink, kReset, "a request's answer never came"},
});

constexpr auto kCodes = [] {
  std::array<std::int32_t, kRows.size()> codes{};
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = kRows[i].code;
  return codes;
}();

struct Unit {
  std::int32_t first, last;
  CauseClass cause;
  std::string_view meaning;
};
constexpr auto kUnits = std::to_array<Unit>({
    {10000, 10010, kLink, "NVSwitch: host interface"},
    {11000, 11047, kLink, "NVSwitch: port ingress"},
    {12000, 12051, kLink, "NVSwitch: port egress"},
    {13000, 13008, kLink, "NVSwitch: flush state"},
    {14000, 14018, kLink, "NVSwitch: transaction state"},
    {15000, 15020, kLink, "NVSwitch: routing"},
    {16000, 16003, kLink, "NVSwitch: port"},
    {17000, 17008, kLink, "NVSwitch: link control"},
    {18000, 18020, kLink, "NVSwitch: link interface"},
    {19000, 19084, kLink, "NVSwitch: transaction layer"},
    {20000, 20038, kLink, "NVSwitch: data link layer"},
    {21000, 21010, kLink, "NVSwitch: crossbar interface"},
    {22000, 22013, kLink, "NVSwitch: link micro-controller"},
    {23000, 23017, kLink, "NVSwitch: crossbar"},
    {24000, 24010, kLink, "NVSwitch: source tracking"},
    {25000, 25010, kLink, "NVSwitch: link state"},
    {26000, 26008, kLink, "NVSwitch: system micro-controller"},
    {27000, 27007, kLink, "NVSwitch: cable management"},
    {28000, 28005, kHeat, "NVSwitch: temperature of an optical module"},
    {29000, 29006, kLink, "NVSwitch: multicast state"},
    {30000, 30006, kLink, "NVSwitch: reduction state"},
});

std::string_view vendor_action_of(Action action) {
  switch (action) {
    case Action::kNone:
      return "not applicable";
    case Action::kRestartRanks:
      return "restart the guest";
    case Action::kResetDevice:
      return "reset the GPUs and their NVLinks";
    case Action::kRebootNode:
      return "restart the host";
    default:
      return "look at it";
  }
}

std::string_view why_of(Action action) {
  switch (action) {
    case Action::kNone:
      return "the switch goes on; nothing is lost but speed";
    case Action::kRestartRanks:
      return "the GPU's programs are aborted and can start again; NVIDIA asks for no reset";
    case Action::kResetDevice:
      return "fatal to the link: it comes back when the GPUs and switches are reset";
    case Action::kRebootNode:
      return "fatal to the whole fabric of the machine: it is restarted";
    default:
      return "a wrong partition set-up, which a person must correct";
  }
}

}  // namespace

std::span<const std::int32_t> sxid_codes() {
  return kCodes;
}

std::optional<CodeRule> sxid_rule(std::int32_t code) {
  const auto row = std::ranges::lower_bound(kRows, code, {}, &Row::code);
  if (row != kRows.end() && row->code == code)
    return CodeRule{code,
                    row->cause,
                    row->action,
                    row->meaning,
                    vendor_action_of(row->action),
                    why_of(row->action),
                    kSxidGuide};
  for (const Unit& unit : kUnits)
    if (code >= unit.first && code <= unit.last)
      return CodeRule{
          code,
          unit.cause,
          Action::kAskOperator,
          unit.meaning,
          "none given",
          "the line's own word decides: Fatal is cured by a reset, Non-fatal needs none",
          kSxidHeader};
  return std::nullopt;
}

}  // namespace holdfast
