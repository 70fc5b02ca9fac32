#include "core/access/seen_requests.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

using Verdict = SeenRequests::Verdict;
constexpr WallTime kNow{1'000'000'000};
constexpr WallTime kExpires{2'000'000'000};
constexpr WallTime kLater{2'000'000'001};

TEST(SeenRequests, ARequestIsCarriedOutOnce) {
  SeenRequests seen;
  EXPECT_EQ(seen.begin("a", "call", kExpires, kNow).verdict, Verdict::kNew);
  EXPECT_EQ(seen.begin("a", "call", kExpires, kNow).verdict, Verdict::kUnderWay);
  EXPECT_EQ(seen.begin("b", "call", kExpires, kNow).verdict, Verdict::kNew);
  seen.done("a", {200, "answer"});
  const auto again = seen.begin("a", "call", kExpires, kExpires);
  EXPECT_EQ(again.verdict, Verdict::kDone);
  EXPECT_EQ(again.answer.status, 200);
  EXPECT_EQ(again.answer.body, "answer");
}

TEST(SeenRequests, OnlyTheSameCallGetsTheAnswer) {
  SeenRequests seen;
  EXPECT_EQ(seen.begin("a", "", kExpires, kNow).verdict, Verdict::kNew);
  EXPECT_EQ(seen.begin("b", "call", kExpires, kNow).verdict, Verdict::kNew);
  for (const char* call : {"", "another"}) {
    EXPECT_EQ(seen.begin("a", call, kExpires, kNow).verdict, Verdict::kOtherCall);
    EXPECT_EQ(seen.begin("b", call, kExpires, kNow).verdict, Verdict::kOtherCall);
  }
  seen.done("b", {200, "answer"});
  EXPECT_EQ(seen.begin("b", "another", kExpires, kNow).verdict, Verdict::kOtherCall);
  EXPECT_EQ(seen.begin("b", "call", kExpires, kNow).verdict, Verdict::kDone);
  const std::string long_call(1000, 'x');
  EXPECT_EQ(seen.begin("c", long_call, kExpires, kNow).verdict, Verdict::kNew);
  EXPECT_EQ(seen.begin("c", long_call, kExpires, kNow).verdict, Verdict::kOtherCall);
}

TEST(SeenRequests, IsForgottenOnlyWhenItsSignatureHasExpired) {
  SeenRequests seen(2);
  EXPECT_EQ(seen.begin("a", "call", kExpires, kNow).verdict, Verdict::kNew);
  EXPECT_EQ(seen.begin("b", "call", WallTime{kExpires.ns + 5}, kNow).verdict, Verdict::kNew);
  EXPECT_EQ(seen.begin("c", "call", kExpires, kNow).verdict, Verdict::kFull);
  EXPECT_EQ(seen.begin("a", "call", kExpires, kNow).verdict, Verdict::kUnderWay);
  EXPECT_EQ(seen.begin("c", "call", WallTime{kExpires.ns + 5}, kLater).verdict, Verdict::kNew);
  EXPECT_EQ(seen.size(), 2u);
  seen.done("a", {});  // too late: nothing to do
  EXPECT_EQ(seen.begin("b", "call", kExpires, kLater).verdict, Verdict::kUnderWay);
}

TEST(SeenRequests, WhatAnEarlierProcessHasSeenIsNotCarriedOut) {
  SeenRequests seen;
  seen.restore("a", kExpires);
  seen.restore("a", kExpires);
  EXPECT_EQ(seen.begin("a", "", kExpires, kNow).verdict, Verdict::kAnswerGone);
  EXPECT_EQ(seen.begin("a", "call", kExpires, kNow).verdict, Verdict::kAnswerGone);
  EXPECT_EQ(seen.begin("b", "call", kExpires, kNow).verdict, Verdict::kNew);
  EXPECT_EQ(seen.begin("a", "call", WallTime{kLater.ns + 1}, kLater).verdict, Verdict::kNew);
}

TEST(SeenRequests, TheAnswersThatAreKeptAreBounded) {
  SeenRequests seen(100, 10);
  for (const char* signature : {"a", "b", "c"}) {
    EXPECT_EQ(seen.begin(signature, "call", kExpires, kNow).verdict, Verdict::kNew);
    seen.done(signature, {200, "12345"});
  }
  EXPECT_EQ(seen.begin("b", "call", kExpires, kNow).verdict, Verdict::kDone);
  EXPECT_EQ(seen.begin("c", "call", kExpires, kNow).verdict, Verdict::kAnswerGone);
  EXPECT_EQ(seen.begin("d", "call", WallTime{kLater.ns + 9}, kLater).verdict, Verdict::kNew);
  seen.done("d", {200, "1234567890"});  // there is room again
  EXPECT_EQ(seen.begin("d", "call", kLater, kLater).verdict, Verdict::kDone);
}

}  // namespace
}  // namespace holdfast
