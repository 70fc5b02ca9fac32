#include "engine/checks/host_load.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "base/prng.h"

namespace holdfast {
namespace {

TEST(HostLoad, AWellMachineComputesRight) {
  const LoadReport cpu = load_cpu(2, milliseconds(20));
  EXPECT_EQ(cpu.wrong, "");
  EXPECT_GT(cpu.rate, 0);
  const LoadReport gemm = load_gemm(1, milliseconds(20));
  EXPECT_EQ(gemm.wrong, "");
  EXPECT_GT(gemm.rate, 0);
}

TEST(HostLoad, MemoryHoldsItsPatterns) {
  const auto report = load_memory(2, 8 << 20, milliseconds(200));
  ASSERT_TRUE(report.ok()) << report.error().text();
  EXPECT_EQ(report->wrong, "");
  EXPECT_GT(report->bytes_tested, 0u);
  EXPECT_LE(report->bytes_tested, 8u << 20);
  EXPECT_GT(report->rate, 0);
  EXPECT_FALSE(load_memory(1, 1ull << 60, milliseconds(1)).ok());
}

// One bit of one entry of the product, anywhere, is found.
TEST(HostLoad, AFlippedBitOfAProductIsFound) {
  constexpr unsigned n = 24;
  Prng prng(7);
  std::vector<double> a(n * n), b(n * n), c(n * n);
  for (double& entry : a) entry = static_cast<double>(prng.below(17)) - 8;
  for (double& entry : b) entry = static_cast<double>(prng.below(17)) - 8;
  for (unsigned i = 0; i < n; ++i)
    for (unsigned j = 0; j < n; ++j)
      for (unsigned k = 0; k < n; ++k) c[i * n + j] += a[i * n + k] * b[k * n + j];
  ASSERT_TRUE(verify_product(a.data(), b.data(), c.data(), n, 1));
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> flipped = c;
    double& entry = flipped[prng.below(n * n)];
    const double before = entry;
    entry = std::bit_cast<double>(std::bit_cast<std::uint64_t>(entry) ^ 1ull << prng.below(64));
    if (entry != before) {  // -0 is 0
      EXPECT_FALSE(verify_product(a.data(), b.data(), flipped.data(), n, prng.next())) << trial;
    }
  }
}

}  // namespace
}  // namespace holdfast
