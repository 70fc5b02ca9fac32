#include "api/journal_line.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(JournalLine, AKernelEntryIsTheLineThatJournalctlPrints) {
  EXPECT_EQ(kernel_line_of_journal(
                R"({"_HOSTNAME":"gpu-7","__REALTIME_TIMESTAMP":"1795493179123456",)"
                R"("_TRANSPORT":"kernel","SYSLOG_IDENTIFIER":"kernel","MESSAGE":"NVRM: Xid 79"})"),
            "1795493179.123456 gpu-7 kernel: NVRM: Xid 79");
}

TEST(JournalLine, BytesThatAreNoTextComeAsNumbers) {
  EXPECT_EQ(
      kernel_line_of_journal(
          R"({"__REALTIME_TIMESTAMP":"1000001","_TRANSPORT":"kernel","MESSAGE":[79,75,10,33]})"),
      "1.000001 - kernel: OK !");
}

TEST(JournalLine, WhatAProgramQuotesIsNotTheKernels) {
  EXPECT_EQ(kernel_line_of_journal(
                R"({"_TRANSPORT":"stdout","_HOSTNAME":"a","MESSAGE":"kernel: NVRM: Xid 79"})"),
            "");
  EXPECT_EQ(kernel_line_of_journal(R"({"MESSAGE":"NVRM: Xid 79"})"), "");
}

TEST(JournalLine, AnythingElseIsAnotherFormat) {
  EXPECT_EQ(kernel_line_of_journal("NVRM: Xid 79"), std::nullopt);
  EXPECT_EQ(kernel_line_of_journal(R"({"message":"x"})"), std::nullopt);
  EXPECT_EQ(kernel_line_of_journal(R"({"MESSAGE":"cut o)"), std::nullopt);
  EXPECT_EQ(kernel_line_of_journal("[1, 2]"), std::nullopt);
}

TEST(JournalLine, OddFieldsAreTakenForNothing) {
  EXPECT_EQ(kernel_line_of_journal(
                R"({"MESSAGE":null,"_TRANSPORT":"kernel","__REALTIME_TIMESTAMP":"soon"})"),
            "0.000000 - kernel: ");
}

}  // namespace
}  // namespace holdfast
