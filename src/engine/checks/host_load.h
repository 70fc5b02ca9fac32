#pragma once

// Loads of one machine whose results are known beforehand: what a processor or its memory computes
// or keeps wrongly shows. Each fills all `threads` for `load`, and blocks the caller so long.

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/time.h"

namespace holdfast {

struct LoadReport {
  std::string wrong;  // what was not as it must be; empty: everything was right
  double rate = 0;    // of the unit that the function names
};

// Integer and floating-point arithmetic of which each block has a known result. Rate: blocks a
// second, all threads together.
[[nodiscard]] LoadReport load_cpu(unsigned threads, Duration load);

// Writes patterns over `bytes` of memory and reads them back: ones and zeros in turn, the address
// of each word, and random words; then copies. Rate: GB/s read and written by the copies. Stops
// early when the time is over, `bytes_tested` says how far it came.
// kIo: so much memory cannot be had.
struct MemoryReport : LoadReport {
  std::uint64_t bytes_tested = 0;
};
[[nodiscard]] Result<MemoryReport> load_memory(unsigned threads, std::uint64_t bytes,
                                               Duration load);

// Products of matrices of small integers, exact in double precision, each verified in a different
// way than it was computed (Freivalds: C x = A (B x) for random x; a wrong product passes 20 of
// these with a chance of 2^-20): silent corruption shows. Rate: GFLOP/s.
[[nodiscard]] LoadReport load_gemm(unsigned threads, Duration load);

// True when C = A B, n x n, row by row; the entries of A and B are integers from -8 to 8.
[[nodiscard]] bool verify_product(const double* a, const double* b, const double* c, unsigned n,
                                  std::uint64_t seed);

}  // namespace holdfast
