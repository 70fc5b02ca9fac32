#include "engine/safetensors/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast::engine {
namespace {

using testing::HasSubstr;

std::string text(const std::string& tensors) {
  return "{" + tensors + "}";
}

std::string tensor(const char* name, const char* dtype, const char* shape, const char* offsets) {
  return std::string("\"") + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

Result<SafetensorsHeader> read(const std::string& header, std::uint64_t data) {
  return read_safetensors_header(header, 8 + header.size() + data, "f");
}

TEST(Safetensors, TheExampleOfTheFormat) {
  const std::string header =
      text("\"__metadata__\":{\"format\":\"pt\"}," + tensor("b", "F32", "[2]", "[4,12]") + "," +
           tensor("a", "F16", "[1,2]", "[0,4]") + "," + tensor("s", "I64", "[]", "[12,20]") + "," +
           tensor("none", "BF16", "[0,3]", "[20,20]")) +
      "  ";
  const auto found = read(header, 20);
  ASSERT_TRUE(found.ok()) << found.error().text();
  ASSERT_EQ(found->tensors.size(), 4u);
  const std::uint64_t data = 8 + header.size();
  EXPECT_EQ(found->tensors[0], (SafeTensor{"a", "F16", {1, 2}, data, data + 4}));
  EXPECT_EQ(found->tensors[2], (SafeTensor{"s", "I64", {}, data + 12, data + 20}));
  EXPECT_EQ(found->tensors[3].name, "none");
  EXPECT_EQ(found->metadata.at("format"), "pt");
}

TEST(Safetensors, WhatIsNotOfTheFormatIsRefused) {
  const std::string good = tensor("a", "F32", "[2]", "[0,8]");
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  const std::pair<std::string, const char*> cases[] = {
      {"", "begin with {"},
      {" {}", "begin with {"},
      {"{", "no JSON"},
      {"{}x", "no JSON"},
      {text(good + "," + tensor("a", "F32", "[2]", "[0,8]")), "twice"},
      {text("\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"),
       "twice"},
      {text(tensor("a", "F33", "[2]", "[0,8]")), "dtype"},
      {text(tensor("a", "F32", "[2]", "[0,7]")), "do not fit"},
      {text(tensor("a", "F32", "[2]", "[8,0]")), "two offsets"},
      {text(tensor("a", "F32", "[2]", "[0,9]")), "two offsets"},
      {text(tensor("a", "F32", "[2]", "[0,8,8]")), "two offsets"},
      {text(tensor("a", "F32", "[-2]", "[0,8]")), "shape"},
      {text(tensor("a", "F32", "2", "[0,8]")), "shape"},
      {text(tensor("a", "F32", "[4611686018427387904,4]", "[0,0]")), "do not fit"},
      {text(tensor("a", "F32", "[1]", "[0,4]")), "end at"},
      {text(tensor("a", "F32", "[1]", "[4,8]")), "gap"},
      {text(good + "," + tensor("b", "F32", "[1]", "[4,8]")), "overlaps"},
      {text("\"a\":{\"dtype\":\"F32\",\"shape\":[2]}"), "needs dtype"},
      {text("\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}"),
       "nothing else"},
      {text("\"__metadata__\":{\"a\":1}," + good), "__metadata__"},
      {text("\"__metadata__\":[]," + good), "__metadata__"},
      {text("\"a\":[]"), "needs dtype"},
      {"[]", "begin with {"},
      {deep, "deeper"},
  };
  ASSERT_TRUE(read(text(good), 8).ok());
  for (const auto& [header, why] : cases) {
    const auto found = read(header, 8);
    ASSERT_FALSE(found.ok()) << header;
    EXPECT_EQ(found.error().code, Errc::kDamaged);
    EXPECT_THAT(found.error().detail, HasSubstr(why)) << header;
  }
}

TEST(Safetensors, TheLengthInFront) {
  using namespace std::string_literals;
  EXPECT_EQ(*safetensors_header_bytes("\2\1\0\0\0\0\0\0"s, 8 + 258, "f"), 258u);
  for (const auto& [bytes, file] : std::vector<std::pair<std::string, std::uint64_t>>{
           {"\2\1\0\0\0\0\0\0"s, 8 + 257},
           {"\2\1\0\0\0\0\0"s, 1000},
           {"\1\xe1\xf5\5\0\0\0\0"s, UINT64_MAX},  // 100,000,001
           {"\0\0\0\0\0\0\0\x80"s, UINT64_MAX}}) {
    const auto found = safetensors_header_bytes(bytes, file, "f");
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.error().code, Errc::kDamaged);
  }
  EXPECT_TRUE(safetensors_header_bytes("\0\xe1\xf5\5\0\0\0\0"s, 200'000'000, "f").ok());
}

TEST(Safetensors, WhatIsWrittenIsRead) {
  SafetensorsHeader header{{{.name = "weight \"1\" \u00e9", .dtype = "F32", .shape = {3, 5}},
                            {.name = "empty", .dtype = "U8", .shape = {0}},
                            {.name = "b", .dtype = "BOOL", .shape = {}}},
                           {{"format", "pt"}}};
  const auto front = lay_out_safetensors(header);
  ASSERT_TRUE(front.ok()) << front.error().text();
  EXPECT_EQ(front->size() % 8, 0u);
  EXPECT_EQ(header.tensors[0].begin, front->size());
  const std::uint64_t file = front->size() + 61;
  EXPECT_EQ(header.tensors[2].end, file);
  EXPECT_EQ(*safetensors_header_bytes(*front, file, "f"), front->size() - 8);
  const auto back = read_safetensors_header(front->substr(8), file, "f");
  ASSERT_TRUE(back.ok()) << back.error().text();
  EXPECT_EQ(*back, header);
}

TEST(Safetensors, WhatCannotBeWrittenIsNamed) {
  SafetensorsHeader twice{{{.name = "a", .dtype = "F32"}, {.name = "a", .dtype = "F32"}}, {}};
  EXPECT_EQ(lay_out_safetensors(twice).error().code, Errc::kInvalidField);
  SafetensorsHeader unknown{{{.name = "a", .dtype = "complex128"}}, {}};
  EXPECT_THAT(lay_out_safetensors(unknown).error().detail, HasSubstr("complex128"));
}

TEST(Safetensors, DtypesThereAndBack) {
  for (const char* torch : {"float64", "float32", "float16", "bfloat16", "complex64", "int64",
                            "int32", "int16", "int8", "uint8", "bool"})
    EXPECT_EQ(torch_dtype(safetensors_dtype(torch)), torch);
  EXPECT_EQ(safetensors_dtype("complex128"), "");
  EXPECT_EQ(safetensors_dtype(""), "");
  EXPECT_EQ(torch_dtype("F8_E4M3"), "");
  EXPECT_EQ(torch_dtype("F33"), "");
}

}  // namespace
}  // namespace holdfast::engine
