#include "core/plan/closed_form.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

constexpr double kHour = 3600;
constexpr double kDay = 24 * kHour;

// Meta (HPCA'25): r_f = 6.50 failures per 1000 node-days; projected MTTF 1.8 h at 16,384 GPUs and
// 0.23 h at 131,072; r_f predicts 28.8 h at 1,024 (7.9 h were measured).
TEST(ClosedForm, MetaMttf) {
  const double node = 1000 * kDay / 6.50;
  EXPECT_NEAR(job_mtbf_s(16'384 / 8, node) / kHour, 1.8, 0.01);
  EXPECT_NEAR(job_mtbf_s(131'072 / 8, node) / kHour, 0.23, 0.01);
  EXPECT_NEAR(job_mtbf_s(1024 / 8, node) / kHour, 28.8, 0.1);
}

// Llama 3 (arXiv 2407.21783): 419 in 54 days: one per 3.09 h; 3.79 per 1000 node-days.
TEST(ClosedForm, Llama3Mttf) {
  EXPECT_NEAR(job_mtbf_s(2048, 1000 * kDay / 3.79) / kHour, 3.09, 0.01);
}

// ByteRobust (SOSP'25), table 5: P99 of standbys 2 of 128, 2 of 256, 3 of 512, 4 of 1,024 machines.
TEST(ClosedForm, ByteRobustStandbys) {
  const double p = 0.0012;  // of a machine in one recovery window: what the four agree on
  EXPECT_EQ(binomial_quantile(128, p, 0.99), 2u);
  EXPECT_EQ(binomial_quantile(256, p, 0.99), 2u);
  EXPECT_EQ(binomial_quantile(512, p, 0.99), 3u);
  EXPECT_EQ(binomial_quantile(1024, p, 0.99), 4u);
  // Poisson, its limit, agrees.
  EXPECT_EQ(spares_needed(1024 * p, 990), 4u);
  EXPECT_EQ(spares_needed(128 * p, 990), 2u);
}

TEST(ClosedForm, IntervalsAgreeWhereTheStallIsSmall) {
  EXPECT_NEAR(young_interval_s(30, kDay), 2276.8, 0.1);  // sqrt(2 x 30 x 86400)
  EXPECT_NEAR(daly_interval_s(30, kDay) / young_interval_s(30, kDay), 1, 0.02);
  EXPECT_DOUBLE_EQ(daly_interval_s(100, 50), 50);
}

TEST(ClosedForm, TheBestIntervalIsTheBest) {
  for (const double mtbf : {0.23 * kHour, 1.8 * kHour, 28.8 * kHour}) {
    for (const double stall : {0.02, 1.0, 30.0}) {
      const double best = daly_interval_s(stall, mtbf);
      const auto ettr = [&](double interval) { return daly_ettr({interval, stall, 0, 60}, mtbf); };
      EXPECT_GE(ettr(best), ettr(best * 0.8)) << mtbf << " " << stall;
      EXPECT_GE(ettr(best), ettr(best * 1.25)) << mtbf << " " << stall;
    }
  }
}

// Meta's formula is Daly's to the first order.
TEST(ClosedForm, EttrOfMetaAndDalyAgree) {
  const CheckpointCosts costs = {.interval_s = 600, .stall_s = 5, .write_s = 10, .restart_s = 90};
  EXPECT_NEAR(meta_ettr(costs, 8 * kHour), daly_ettr(costs, 8 * kHour), 0.001);
  // (1 - 400/28800) / (1 + 5/600)
  EXPECT_NEAR(meta_ettr(costs, 8 * kHour), 0.977961, 1e-6);
  EXPECT_EQ(meta_ettr(costs, 100), 0);
}

TEST(ClosedForm, Spares) {
  EXPECT_NEAR(machines_away(1000, 98 * kHour, 2 * kHour), 20, 1e-9);
  EXPECT_EQ(spares_needed(20, 990), 31u);  // tables of the Poisson distribution
  EXPECT_EQ(spares_needed(0, 990), 0u);
  EXPECT_NEAR(enough_spares(1, 0), 0.36788, 1e-5);
  EXPECT_NEAR(enough_spares(1, 3), 0.98101, 1e-5);
  EXPECT_NEAR(enough_spares(2000, 2000), 0.506, 0.001);  // does not underflow
}

}  // namespace
}  // namespace holdfast
