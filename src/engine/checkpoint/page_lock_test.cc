#include "engine/checkpoint/page_lock.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <thread>

#include "engine/checkpoint/snapshot_memory.h"

namespace holdfast::engine {
namespace {

constexpr std::uint64_t kBytes = std::uint64_t{1} << 20;

// In a program that has no driver, and then in the same with the double of one.
TEST(PageLock, LivesAsLongAsTheMemoryIsMapped) {
  auto made = Region::make(kBytes);
  ASSERT_TRUE(made.ok());
  std::shared_ptr<Region> region = *made;
  EXPECT_EQ(region->lock_pages().error().code, Errc::kUnavailable);

  void* const cuda = ::dlopen(HF_CUDA_DOUBLE, RTLD_LAZY | RTLD_GLOBAL);
  ASSERT_NE(cuda, nullptr) << ::dlerror();
  const auto push = reinterpret_cast<int (*)(void*)>(::dlsym(cuda, "cuCtxPushCurrent_v2"));
  const auto locked = reinterpret_cast<std::size_t (*)()>(::dlsym(cuda, "double_locked"));
  const auto failures = reinterpret_cast<std::size_t (*)()>(::dlsym(cuda, "double_failures"));
  EXPECT_EQ(region->lock_pages().error().code, Errc::kUnavailable) << "there is no context yet";

  int context = 0;
  push(&context);
  ASSERT_TRUE(region->lock_pages().ok());
  ASSERT_TRUE(region->lock_pages().ok()) << "again";
  EXPECT_EQ(locked(), kBytes);
  const auto twice = PageLock::of(region->bytes());
  ASSERT_FALSE(twice.ok());
  EXPECT_NE(twice.error().detail.find("ALREADY_REGISTERED"), std::string::npos)
      << twice.error().detail;

  made = Error{Errc::kNotFound, ""};
  std::thread([&] { region.reset(); }).join();  // which has no context
  EXPECT_EQ(locked(), 0);
  EXPECT_EQ(failures(), 0);
  ::dlclose(cuda);
}

}  // namespace
}  // namespace holdfast::engine
