#include "engine/checkpoint/page_lock.h"

#include <dlfcn.h>

#include <string>
#include <utility>

namespace holdfast::engine {
namespace {

using Context = void*;

// Of the CUDA driver API (cuda.h): CUresult is an int, and 0 is success.
constexpr unsigned kForAllContexts = 1;  // CU_MEMHOSTREGISTER_PORTABLE

struct Driver {
  int (*host_register)(void*, std::size_t, unsigned) = nullptr;
  int (*host_unregister)(void*) = nullptr;
  int (*current)(Context*) = nullptr;
  int (*push)(Context) = nullptr;
  int (*pop)(Context*) = nullptr;
  int (*error_name)(int, const char**) = nullptr;
};

// Asked anew each time: a program may load the driver later. It is never unloaded.
Result<Driver> driver() {
  void* const library = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr)
    return Error{Errc::kUnavailable, "the program has loaded no libcuda.so.1"};
  Driver found;
  bool is_whole = true;
  const auto find = [&]<class F>(F*& function, const char* name) {
    function = reinterpret_cast<F*>(::dlsym(library, name));
    is_whole = is_whole && function != nullptr;
  };
  find(found.host_register, "cuMemHostRegister_v2");
  find(found.host_unregister, "cuMemHostUnregister");
  find(found.current, "cuCtxGetCurrent");
  find(found.push, "cuCtxPushCurrent_v2");
  find(found.pop, "cuCtxPopCurrent_v2");
  find(found.error_name, "cuGetErrorName");
  ::dlclose(library);  // our count of it; the program holds its own
  if (!is_whole) return Error{Errc::kUnavailable, "libcuda.so.1 is none that is known"};
  return found;
}

}  // namespace

Result<PageLock> PageLock::of(std::span<std::byte> memory) {
  HF_TRY(const Driver cuda, driver());
  Context context = nullptr;
  if (cuda.current(&context) != 0 || context == nullptr)
    return Error{Errc::kUnavailable, "no device context is current on this thread"};
  const int code = cuda.host_register(memory.data(), memory.size(), kForAllContexts);
  if (code != 0) {
    const char* name = nullptr;
    if (cuda.error_name(code, &name) != 0 || name == nullptr) name = "an unknown error";
    return Error{Errc::kIo, "cuMemHostRegister of " + std::to_string(memory.size()) +
                                " bytes: " + name + " (" + std::to_string(code) + ")"};
  }
  return PageLock(memory.data(), context);
}

PageLock::PageLock(PageLock&& other) noexcept
    : at_(std::exchange(other.at_, nullptr)), context_(other.context_) {}

PageLock::~PageLock() {
  if (at_ == nullptr) return;
  const Result<Driver> cuda = driver();
  // A driver that is being shut down with the process refuses, and has unlocked all.
  if (!cuda.ok() || cuda->push(context_) != 0) return;
  cuda->host_unregister(at_);
  cuda->pop(&context_);
}

}  // namespace holdfast::engine
