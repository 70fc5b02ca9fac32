// Any bytes as what a machine shows when it joins: a certificate, a request for one, a token. The
// last two are let in only as what this cluster has made.

#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/check.h"
#include "io/certificates.h"
#include "io/join_token.h"

namespace {

using namespace holdfast;

constexpr WallTime kNow{1'795'500'000'000'000'000};

ClusterCa make_ca() {
  char folder[] = "/tmp/holdfast-ca-fuzz-XXXXXX";
  CHECK(::mkdtemp(folder) != nullptr);
  auto ca = ClusterCa::create(folder, "6e1f3a52-7c0b-4c3e-9d51-0a4a6f1f2b11", kNow);
  std::filesystem::remove_all(folder);
  return std::move(ca).value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const ClusterCa ca = make_ca();
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  (void)read_identity(text);
  if (const auto signed_one = ca.sign(text, NodeId{3}, seconds(60), kNow); signed_one.ok()) {
    const auto identity = read_identity(*signed_one);
    CHECK(identity.ok() && identity->name == "n3" && identity->role == Role::kAgent);
  }
  CHECK(!verify_join_token(ca, text, kNow).ok());
  (void)parse_node_id(text);
  return 0;
}
