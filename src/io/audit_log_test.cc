#include "io/audit_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using nlohmann::json;

class AuditLogTest : public ScratchFolder {
 protected:
  std::unique_ptr<AuditLog> open(std::size_t bytes_max = AuditLog::kBytesMax) {
    auto log = AuditLog::open(path("audit.log"), bytes_max);
    EXPECT_TRUE(log.ok()) << (log.ok() ? "" : log.error().text());
    return log.ok() ? std::move(*log) : nullptr;
  }
  [[nodiscard]] std::vector<std::string> lines(const std::string& name = "audit.log") const {
    std::vector<std::string> all;
    std::ifstream file(path(name));
    for (std::string line; std::getline(file, line);) all.push_back(line);
    return all;
  }
  const AuditEntry entry_{.at = WallTime{1'764'093'600'007'000'000},
                          .request_id = "r1",
                          .key_id = "AKIA1",
                          .role = "admin",
                          .operation = "DeleteCluster",
                          .cluster = "demo",
                          .outcome = "ok",
                          .status = 200,
                          .address = "127.0.0.1"};
};

TEST_F(AuditLogTest, ALinePerCall) {
  ASSERT_TRUE(open()->append(entry_).ok());
  AuditEntry hostile = entry_;
  hostile.cluster = "a\n{\"x\":1}\xff" + std::string(10'000, 'x');
  ASSERT_TRUE(open()->append(hostile).ok());
  const auto all = lines();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(json::parse(all[0]), json({{"time", "2025-11-25T18:00:00.007Z"},
                                       {"request_id", "r1"},
                                       {"key_id", "AKIA1"},
                                       {"role", "admin"},
                                       {"operation", "DeleteCluster"},
                                       {"cluster", "demo"},
                                       {"outcome", "ok"},
                                       {"status", 200},
                                       {"address", "127.0.0.1"}}));
  EXPECT_LT(all[1].size(), 1000u);
  EXPECT_TRUE(json::parse(all[1]).is_object());
  struct stat status {};
  ASSERT_EQ(::stat(path("audit.log").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

TEST_F(AuditLogTest, IsBoundedAndKeepsThePartBefore) {
  const auto log = open(1000);
  for (int i = 0; i < 100; ++i) {
    AuditEntry entry = entry_;
    entry.request_id = std::to_string(i);
    ASSERT_TRUE(log->append(entry).ok());
  }
  const auto now = lines();
  const auto before = lines("audit.log.1");
  ASSERT_FALSE(now.empty());
  ASSERT_FALSE(before.empty());
  EXPECT_EQ(json::parse(now.back())["request_id"], "99");
  EXPECT_EQ(json::parse(before.back())["request_id"], std::to_string(100 - now.size() - 1));
  EXPECT_LE(std::filesystem::file_size(path("audit.log")), 1000u);
}

TEST_F(AuditLogTest, ALineThatWasCutOffSpoilsNoOther) {
  ASSERT_TRUE(open()->append(entry_).ok());
  std::ofstream(path("audit.log"), std::ios::app) << R"({"time":"20)";
  ASSERT_TRUE(open()->append(entry_).ok());
  const auto all = lines();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_TRUE(json::parse(all[0]).is_object());
  EXPECT_TRUE(json::parse(all[2]).is_object());
}

TEST_F(AuditLogTest, AFullDiskIsSaid) {
  std::filesystem::create_symlink("/dev/full", path("audit.log"));
  const auto log = open();
  ASSERT_TRUE(log);
  const auto written = log->append(entry_);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, Errc::kDiskFull);
}

}  // namespace
}  // namespace holdfast
