#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "api/hyperpod_governance.h"
#include "base/check.h"

// Any request of any of the operations gives a change, an answer that is JSON, or an Error. The
// first byte chooses the operation.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  using nlohmann::json;
  if (size == 0) return 0;
  constexpr const char* kOperations[] = {"CreateComputeQuota", "UpdateComputeQuota",
                                         "UpdateClusterSchedulerConfig", "DescribeComputeQuota",
                                         "ListComputeQuotas"};
  const std::string operation = kOperations[bytes[0] % 5];
  const json request = json::parse(bytes + 1, bytes + size, nullptr, /*allow_exceptions=*/false);
  if (!request.is_object()) return 0;
  GovernanceState state;
  for (const char* id : {"quota0000001", "quota0000002"}) {
    GovernanceRecord& record = state.records[id];
    record.kind = GovernanceKind::kComputeQuota;
    record.id = record.name = id;
    record.versions.push_back({.number = 1});
  }
  if (is_governance_change(operation)) {
    (void)read_governance_change(operation, request, "abcdefghijkl");
    return 0;
  }
  const auto answer =
      answer_governance_look(operation, request, state, {"us-east-1", "123456789012"});
  if (answer.ok()) CHECK(json::parse(*answer, nullptr, false).is_object());
  return 0;
}
