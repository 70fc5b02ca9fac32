// Any bytes as a pack of files: none of them leads out of its folder, and they can be packed again.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "io/file_pack.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  const auto files = unpack_files({reinterpret_cast<const char*>(bytes), size});
  if (!files.ok()) return 0;
  for (const PackedFile& file : *files) {
    const std::string path = "/" + file.path + "/";
    CHECK(path.find("//") == path.npos && path.find("/../") == path.npos);
    CHECK((file.mode & ~mode_t{0777}) == 0);
  }
  CHECK(pack_files(*files).ok());
  return 0;
}
