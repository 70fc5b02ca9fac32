// A test double of NVIDIA's libcuda.so.1: it keeps the list of locked memory, and touches no
// device.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace {

constexpr int kInvalidContext = 201, kAlreadyRegistered = 712, kNotRegistered = 713, kNotMapped = 1;

thread_local void* current = nullptr;
std::mutex mutex;
std::map<void*, std::size_t> locked;
std::map<void*, int> failures;  // of unregister, by address

bool is_mapped(void* at) {
  return ::msync(
             reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(at) & ~std::uintptr_t{4095}),
             1, MS_ASYNC) == 0;
}

}  // namespace

extern "C" {

#define DOUBLE_API __attribute__((visibility("default")))

DOUBLE_API int cuMemHostRegister_v2(void* at, std::size_t bytes, unsigned) {
  const std::lock_guard lock(mutex);
  if (current == nullptr) return kInvalidContext;
  return locked.emplace(at, bytes).second ? 0 : kAlreadyRegistered;
}

DOUBLE_API int cuMemHostUnregister(void* at) {
  const std::lock_guard lock(mutex);
  if (current == nullptr) return failures[at] = kInvalidContext;
  if (!is_mapped(at)) return failures[at] = kNotMapped;
  return locked.erase(at) == 1 ? 0 : failures[at] = kNotRegistered;
}

DOUBLE_API int cuCtxGetCurrent(void** context) {
  *context = current;
  return 0;
}

DOUBLE_API int cuCtxPushCurrent_v2(void* context) {
  current = context;
  return 0;
}

DOUBLE_API int cuCtxPopCurrent_v2(void** context) {
  *context = current;
  current = nullptr;
  return 0;
}

DOUBLE_API int cuGetErrorName(int code, const char** name) {
  *name = code == kAlreadyRegistered ? "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED" : nullptr;
  return *name == nullptr ? 1 : 0;
}

// For tests: bytes that are locked, and how often it was asked for what cannot be.
DOUBLE_API std::size_t double_locked() {
  const std::lock_guard lock(mutex);
  std::size_t sum = 0;
  for (const auto& [at, bytes] : locked) sum += bytes;
  return sum;
}
DOUBLE_API std::size_t double_failures() {
  const std::lock_guard lock(mutex);
  return failures.size();
}
}
