// Any bytes as a request of HyperPod's API, the target in the first line: a request within its
// limits, or an error with a message.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/hyperpod/group_request.h"
#include "api/hyperpod/request.h"
#include "base/check.h"

namespace {

using namespace holdfast::hyperpod;

void check_spec(const holdfast::ClusterSpec& spec) {
  CHECK(!spec.groups.empty() && spec.groups.size() <= kGroupsMax);
  for (const auto& group : spec.groups) {
    CHECK(group.count <= kGroupInstancesMax && group.count_min <= group.count);
    CHECK(!group.name.empty() && !group.instance_types.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const std::size_t line = text.find('\n');
  const std::string_view body = line == std::string_view::npos ? "" : text.substr(line + 1);
  const auto parsed = parse_request(text.substr(0, line), body, {"us-west-2", "123456789012"});
  if (const auto* error = std::get_if<ApiError>(&parsed)) {
    CHECK(!error->message.empty() && !render_error(*error).body.empty());
    return 0;
  }
  const Request& request = std::get<Request>(parsed);
  if (const auto* create = std::get_if<request::CreateCluster>(&request)) check_spec(create->spec);
  if (const auto* update = std::get_if<request::UpdateCluster>(&request)) {
    const auto result = updated({}, *update);
    if (const auto* spec = std::get_if<holdfast::ClusterSpec>(&result)) check_spec(*spec);
  }
  if (const auto* list = std::get_if<request::ListClusterNodes>(&request))
    CHECK(list->page.size >= 1 && list->page.size <= kPageMax);
  return 0;
}
