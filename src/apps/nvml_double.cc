#include "apps/nvml_double.h"

// HF_NVML_DOUBLE is the file's path; src/apps/CMakeLists.txt has it made first.
asm(".section .rodata\n"
    ".balign 16\n"
    "hf_nvml_double_begin:\n"
    ".incbin \"" HF_NVML_DOUBLE
    "\"\n"
    "hf_nvml_double_end:\n"
    ".previous\n");

extern "C" {
extern const char hf_nvml_double_begin[];
extern const char hf_nvml_double_end[];
}

namespace holdfast {

std::string_view nvml_double() {
  return {hf_nvml_double_begin,
          static_cast<std::size_t>(hf_nvml_double_end - hf_nvml_double_begin)};
}

}  // namespace holdfast
