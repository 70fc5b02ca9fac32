#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "model/enum_text.h"
#include "model/fault.h"

// The rules of the kernel log, as data: what a message or a vendor's code means, what is done about
// it, and who says so. kernel_log.h finds them in lines; `holdfast explain` prints them.

namespace holdfast {

// What NVIDIA's Xid catalogue calls the immediate action ("resolution bucket"): what an operator
// may do by machine to have the system back. kNotGiven: the catalogue lists the code without one.
enum class XidBucket {
  kIgnore,
  kRestartApp,
  kWorkflow45,
  kCheckUvm,
  kResetGpu,
  kWorkflow48,
  kWorkflowNvlink,
  kWorkflowNvlink5,
  kRestartVm,
  kRestartBm,
  kXid154,
  kCheckMechanicals,
  kUpdateSoftware,
  kContactSupport,
  kNotGiven
};
template <>
inline constexpr auto kWords<XidBucket> = std::to_array<std::string_view>(
    {"IGNORE", "RESTART_APP", "WORKFLOW_XID_45", "CHECK_UVM", "RESET_GPU", "WORKFLOW_XID_48",
     "WORKFLOW_NVLINK_ERR", "WORKFLOW_NVLINK5_ERR", "RESTART_VM", "RESTART_BM", "XID_154",
     "CHECK_MECHANICALS", "UPDATE_SWFW", "CONTACT_SUPPORT", "none given"});

// A vendor's numbered code.
struct CodeRule {
  std::int32_t code = 0;
  CauseClass cause = CauseClass::kUnknown;
  Action action = Action::kAskOperator;  // the mildest cure that the vendor gives
  std::string_view meaning;
  std::string_view vendor_action;  // in the vendor's own word
  std::string_view why;            // why this action; never empty
  std::string_view source;
};

// Documented codes, ascending.
[[nodiscard]] std::span<const std::int32_t> xid_codes();
[[nodiscard]] std::span<const std::int32_t> sxid_codes();

// nullopt: not documented; ask a person, never assume.
[[nodiscard]] std::optional<CodeRule> xid_rule(std::int32_t code);
[[nodiscard]] std::optional<CodeRule> sxid_rule(std::int32_t code);

// The cure that Xid 154 names in its text: "... changed from 0x0 (None) to 0x2 (Node Reboot
// Required)". nullopt: the text is cut off.
[[nodiscard]] std::optional<Action> xid154_action(std::string_view text);

// The cure of an NVLink Xid (144-150), which depends on its sub-component, severity and registers:
// "RLW_REMAP Nonfatal XC1 i0 Link 03 (0x00000041 0x00000004 ...)". nullopt: the text is cut off.
[[nodiscard]] std::optional<Action> nvlink5_action(std::int32_t xid, std::string_view text);

// A message of the kernel or of a driver, by its own format.
struct KernelRule {
  std::string_view kind;
  std::string_view
      driver;  // for messages "DRIVER PCI-ADDRESS[ NAME]: ..."; "*": any; empty: others
  std::string_view pattern;  // of the message's beginning; see message_pattern.h
  CauseClass cause;
  Action action;
  std::string_view meaning;
  std::string_view source;
};

[[nodiscard]] std::span<const KernelRule> kernel_rules();

inline constexpr std::string_view kXidSource =
    "NVIDIA Xid catalogue, docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html";
inline constexpr std::string_view kSxidGuide =
    "NVIDIA Fabric Manager user guide, Runtime NVSwitch Errors, "
    "docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide";
inline constexpr std::string_view kSxidHeader =
    "NVIDIA open-gpu-kernel-modules, src/common/nvswitch/interface/ctrl_dev_nvswitch.h";

}  // namespace holdfast
