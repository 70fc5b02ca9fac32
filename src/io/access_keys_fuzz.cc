// Any bytes as the file of access keys, beside a master key that is whole: keys that can be listed,
// or an error with the remedy. The master key is all zeros.

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

#include "base/check.h"
#include "io/access_keys.h"
#include "io/files.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  static const std::string folder = "/tmp/holdfast-keys-fuzz-" + std::to_string(::getpid());
  static const bool made =
      make_folder(folder, 0700).ok() &&
      write_file_atomic(folder + "/access_keys.key", std::string(64, '0') + "\n", 0600).ok();
  CHECK(made);
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  std::ofstream(folder + "/access_keys.json", std::ios::binary) << text;
  const auto keys = AccessKeys::open(folder);
  if (keys.ok())
    for (const AccessKey& key : (*keys)->list()) CHECK((*keys)->find(key.id)->secret.size() == 40);
  else
    CHECK(keys.error().code == Errc::kStateCorrupt);
  return 0;
}
