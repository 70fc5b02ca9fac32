#include "apps/checkpoint_library.h"

// HF_CHECKPOINT_LIBRARY is the file's path; src/apps/CMakeLists.txt has it made first.
asm(".section .rodata\n"
    ".balign 16\n"
    "hf_checkpoint_library_begin:\n"
    ".incbin \"" HF_CHECKPOINT_LIBRARY
    "\"\n"
    "hf_checkpoint_library_end:\n"
    ".previous\n");

extern "C" {
extern const char hf_checkpoint_library_begin[];
extern const char hf_checkpoint_library_end[];
}

namespace holdfast {

std::string_view checkpoint_library() {
  return {hf_checkpoint_library_begin,
          static_cast<std::size_t>(hf_checkpoint_library_end - hf_checkpoint_library_begin)};
}

}  // namespace holdfast
