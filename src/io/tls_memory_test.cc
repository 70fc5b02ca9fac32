#include "io/tls_memory.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

namespace holdfast {
namespace {

TEST(TlsMemory, PipesAreSmallAndStillCarryEverything) {
  keep_idle_tls_small();
  keep_idle_tls_small();
  BIO *near_end = nullptr, *far_end = nullptr;
  ASSERT_EQ(BIO_new_bio_pair(&near_end, 0, &far_end, 0), 1);
  EXPECT_EQ(BIO_get_write_buf_size(near_end, 0), 2048);
  EXPECT_EQ(BIO_get_write_buf_size(far_end, 0), 2048);
  const std::string sent(10'000, 'x');
  std::string received;
  for (std::size_t at = 0; at < sent.size();) {
    const int n = BIO_write(near_end, sent.data() + at, static_cast<int>(sent.size() - at));
    ASSERT_GT(n, 0);
    at += static_cast<std::size_t>(n);
    char buffer[8192];
    const int got = BIO_read(far_end, buffer, sizeof buffer);
    ASSERT_EQ(got, n);
    received.append(buffer, static_cast<std::size_t>(got));
  }
  EXPECT_EQ(received, sent);
  BIO_free(near_end);
  BIO_free(far_end);
}

TEST(TlsMemory, ConnectionsGiveTheirBuffersBack) {
  keep_idle_tls_small();
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_method()),
                                                                  &SSL_CTX_free);
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), &SSL_free);
  EXPECT_NE(SSL_get_mode(ssl.get()) & SSL_MODE_RELEASE_BUFFERS, 0);
  EXPECT_EQ(SSL_get_num_tickets(ssl.get()), 0U);
  BIO* const sent = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), sent);  // which it owns now
  SSL_set_connect_state(ssl.get());
  EXPECT_EQ(SSL_do_handshake(ssl.get()), -1);  // nobody answers
  const char* hello = nullptr;
  const long length = BIO_get_mem_data(sent, &hello);
  using std::string_view_literals::operator""sv;
  // An extension: X25519, then P-256, P-384 and P-521.
  const auto groups = "\x00\x0a\x00\x0a\x00\x08\x00\x1d\x00\x17\x00\x18\x00\x19"sv;
  EXPECT_NE(std::string_view(hello, static_cast<std::size_t>(length)).find(groups),
            std::string_view::npos);
}

}  // namespace
}  // namespace holdfast
