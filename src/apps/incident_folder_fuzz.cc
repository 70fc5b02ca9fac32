// Any bytes as the ranks.json of an incident folder: a verdict about ranks that are there, or an
// Error.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "apps/incident_folder.h"
#include "base/check.h"
#include "io/files.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  static const std::string folder = [] {
    std::string name = "/tmp/incident_folder_fuzz.XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    return name;
  }();
  const std::string text(reinterpret_cast<const char*>(bytes), size);
  CHECK(write_file_atomic(folder + "/ranks.json", text, 0600).ok());
  const auto found = read_incident_folder(folder);
  if (!found.ok()) return 0;
  const Verdict verdict = judge(found->evidence);
  CHECK(!verdict.summary.empty());
  for (const std::uint32_t rank : verdict.ranks) CHECK(rank < found->evidence.ranks.size());
  for (const NodeId node : verdict.nodes) CHECK(found->node_names.contains(node));
  return 0;
}
