#include "io/http_head.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace holdfast {
namespace {

HttpHead read(const std::string& text) {
  const auto head = parse_http_head(text);
  EXPECT_TRUE(head.ok()) << head.error().text();
  return head.ok() ? *head : HttpHead{};
}

TEST(HttpHead, ARequestAsItIsSent) {
  const HttpHead head = read(
      "POST /a%20b?x=%2F HTTP/1.1\r\nHost: localhost:1\r\nX-Two:  a \r\nx-two: b%20\r\n"
      "Content-Length: 12\r\nExpect: 100-Continue\r\n\r\n");
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.target, "/a%20b?x=%2F");
  EXPECT_EQ(head.headers.at("host"), "localhost:1");
  EXPECT_EQ(head.headers.at("x-two"), "a,b%20");
  EXPECT_EQ(head.body_bytes, 12u);
  EXPECT_TRUE(head.keeps_alive);
  EXPECT_TRUE(head.expects_continue);
}

TEST(HttpHead, HowLongAConnectionLives) {
  EXPECT_FALSE(read("GET / HTTP/1.0\r\nHost: a\r\n\r\n").keeps_alive);
  EXPECT_TRUE(read("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n").keeps_alive);
  EXPECT_FALSE(read("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").keeps_alive);
}

TEST(HttpHead, WhatTwoReadersMayReadDifferently) {
  for (const std::string& head : std::vector<std::string>{
           "GET / HTTP/1.1\r\n\r\n",                        // no host
           "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",  // two
           "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
           "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",  // bare LF
           "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\nX-Amz-Date: 1\r\nX-Amz-Date: 2\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET",  // more behind it
           "GET / HTTP/1.1\r\nHost: a\r\n",
           "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
           "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
           "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
           "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
           "GET/ HTTP/1.1\r\nHost: a\r\n\r\n",
           "\r\n\r\n",
           "",
       })
    EXPECT_FALSE(parse_http_head(head).ok()) << head;
  EXPECT_FALSE(parse_http_head(std::string_view("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 29)).ok());
}

}  // namespace
}  // namespace holdfast
