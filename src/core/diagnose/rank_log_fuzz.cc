// Any bytes as a rank's log, stack dump and flight record: reading ends, and judging what was read
// does too.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "core/diagnose/flight_record.h"
#include "core/diagnose/incident_evidence.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  (void)holdfast::read_flight_record(text);
  holdfast::IncidentEvidence evidence;
  for (std::uint32_t rank = 0; rank < 2; ++rank)
    evidence.ranks.push_back({.exit = {.rank = rank, .code = 1},
                              .node = holdfast::NodeId{rank + 1},
                              .state = rank == 0 ? holdfast::RankEvidence::State::kExited
                                                 : holdfast::RankEvidence::State::kRunning,
                              .log = holdfast::read_rank_log(text),
                              .stacks = std::string(text)});
  const holdfast::Verdict verdict = holdfast::judge(evidence);
  CHECK(!verdict.summary.empty());
  for (const std::uint32_t rank : verdict.ranks) CHECK(rank < 2);
  return 0;
}
