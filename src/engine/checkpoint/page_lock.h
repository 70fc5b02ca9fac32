#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"

namespace holdfast::engine {

// Memory that NVIDIA's driver has locked and mapped for its devices, until this object goes: only
// such memory is copied to by a device itself, beside the program. It must go before the memory is
// unmapped: otherwise the driver takes what is mapped at that address later for these pages, and
// copies go astray.
//
// The driver (libcuda.so.1) is the one that the program has loaded already; nothing is linked or
// loaded.
class PageLock {
 public:
  // With the device context that is current on this thread. kUnavailable: no driver, or no context.
  static Result<PageLock> of(std::span<std::byte> memory);
  PageLock(PageLock&& other) noexcept;
  PageLock& operator=(PageLock&&) = delete;
  PageLock(const PageLock&) = delete;
  PageLock& operator=(const PageLock&) = delete;
  ~PageLock();  // on any thread

 private:
  PageLock(void* at, void* context) : at_(at), context_(context) {}
  void* at_;
  void* context_;
};

}  // namespace holdfast::engine
