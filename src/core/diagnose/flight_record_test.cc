#include "core/diagnose/flight_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace holdfast {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string bytes(std::string_view hex) {
  std::string result;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    result += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return result;
}

// pickle.dumps({"entries": [{"collective_seq_id": 301, "process_group": ("0", "default_pg"),
// "is_p2p": False}]}, protocol) of Python 3.11
constexpr std::string_view kProtocol2 =
    "80027d71005807000000656e747269657371015d71027d7103285811000000636f6c6c6563746976655f7365715f69"
    "64"
    "71044d2d01580d00000070726f636573735f67726f757071055801000000307106580a00000064656661756c745f70"
    "67"
    "7107867108580600000069735f7032707109897561732e";
constexpr std::string_view kProtocol4 =
    "80049559000000000000007d948c07656e7472696573945d947d94288c11636f6c6c6563746976655f7365715f6964"
    "94"
    "4d2d018c0d70726f636573735f67726f7570948c0130948c0a64656661756c745f70679486948c0669735f70327094"
    "89"
    "7561732e";
// pickle.dumps(os.system, 2)
constexpr std::string_view kCall = "800263706f7369780a73797374656d0a71002e";

TEST(FlightRecord, TheLastCollectiveOfEachGroup) {
  for (const std::string_view hex : {kProtocol2, kProtocol4}) {
    const auto last = read_flight_record(bytes(hex));
    ASSERT_TRUE(last.ok()) << last.error().text();
    EXPECT_THAT(*last, ElementsAre(Pair("0", FlightPosition{603, ""})));
  }
}

TEST(FlightRecord, TypedListsOfPyTorchAreLists) {
  // {"entries": [], "sizes": build_intlist([4])}, as the C++ pickler of PyTorch writes it
  const std::string text = std::string(
                               "\x80\x02}(X\x07\x00\x00\x00"
                               "entries]X\x05\x00\x00\x00",
                               22) +
                           "sizesctorch.jit._pickle\nbuild_intlist\n(]K\x04" + "atRu.";
  EXPECT_TRUE(read_flight_record(text).ok()) << read_flight_record(text).error().text();
}

TEST(FlightRecord, ACollectiveThatTheGpuHasNotBegunIsBehindOneThatItHas) {
  // pickle.dumps({"entries": [{"collective_seq_id": 301, "process_group": "0", "state": STATE}]},
  // 4)
  const auto record = [](const std::string& state) {
    return read_flight_record(std::string("\x80\x04}(\x8c\x07", 6) + "entries](}(\x8c\x11" +
                              "collective_seq_id" + "M\x2d\x01" + "\x8c\x0d" + "process_group" +
                              std::string("\x8c\x01") + "0\x8c\x05" + "state\x8c" +
                              static_cast<char>(state.size()) + state + "ueu.");
  };
  ASSERT_TRUE(record("scheduled").ok()) << record("scheduled").error().text();
  EXPECT_THAT(*record("scheduled"), ElementsAre(Pair("0", FlightPosition{602, ""})));
  EXPECT_THAT(*record("started"), ElementsAre(Pair("0", FlightPosition{603, ""})));
  EXPECT_THAT(*record("completed"), ElementsAre(Pair("0", FlightPosition{603, ""})));
}

TEST(FlightRecord, NothingIsCalledAndNothingCutOffIsBelieved) {
  EXPECT_THAT(read_flight_record(bytes(kCall)).error().text(), HasSubstr("HF1007"));
  const std::string whole = bytes(kProtocol2);
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(read_flight_record(whole.substr(0, length)).ok()) << length;
  EXPECT_THAT(read_flight_record("}.").error().text(), HasSubstr("'entries'"));
}

TEST(FlightRecord, ADictThatIsListedManyTimesIsReadOnce) {
  std::string text = "}(\x8c\x07";
  text += "entries](}\x94(";  // a dict of many pairs, remembered
  for (int i = 0; i < 100'000; ++i) text += std::string("\x8c\x01") + "aN";
  text += "u";
  for (int i = 0; i < 500'000; ++i) text += std::string_view("h\0", 2);  // and listed again
  const auto last = read_flight_record(text + "eu.");
  ASSERT_TRUE(last.ok()) << last.error().text();
  EXPECT_TRUE(last->empty());
}

TEST(FlightRecord, DeepNestingIsNoTrouble) {
  std::string text(500'000, ']');
  text += std::string(499'999, 'a') + ".";
  EXPECT_FALSE(read_flight_record(text).ok());
}

}  // namespace
}  // namespace holdfast
