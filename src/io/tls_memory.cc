#include "io/tls_memory.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <mutex>

namespace holdfast {
namespace {

// gRPC writes again what did not fit, but for two things: a client's flight in the handshake (ours,
// with the cluster's own short certificates, is just above 1,200 bytes) and a record of ours, for
// which GRPC_ARG_TSI_MAX_FRAME_SIZE has the same size.
constexpr long kPipeBytes = 2048;

void on_new_connection(void* ssl, void*, CRYPTO_EX_DATA*, int, long, void*) {
  auto* connection = static_cast<SSL*>(ssl);
  SSL_set_mode(connection, SSL_MODE_RELEASE_BUFFERS);
  SSL_set_num_tickets(connection, 0);
}

// The others for who knows no X25519, be it gRPC elsewhere (P-256 only) or a store that S3 clients
// of this process speak with. Where it is not allowed (FIPS), all stays as it is.
void take_x25519(void* ssl, void*, CRYPTO_EX_DATA*, int, long, void*) {
  SSL_set1_groups_list(static_cast<SSL*>(ssl), "X25519:P-256:P-384:P-521");
}

// Its size can be set from when it is made until it is joined with the other end, which allocates.
long on_pipe(BIO* bio, int operation, const char* other_end, std::size_t, int command, long,
             int result, std::size_t*) {
  if (operation != BIO_CB_CTRL || command != BIO_C_MAKE_BIO_PAIR) return result;
  auto* other = reinterpret_cast<BIO*>(const_cast<char*>(other_end));
  for (BIO* end : {bio, other}) {
    BIO_set_callback_ex(end, nullptr);
    BIO_set_write_buf_size(end, kPipeBytes);
  }
  return result;
}

void on_new_bio(void* made, void*, CRYPTO_EX_DATA*, int, long, void*) {
  auto* bio = static_cast<BIO*>(made);
  if (BIO_method_type(bio) == BIO_TYPE_BIO) BIO_set_callback_ex(bio, on_pipe);
}

}  // namespace

void prefer_x25519() {
  static std::once_flag once;
  std::call_once(once, [] { SSL_get_ex_new_index(0, nullptr, take_x25519, nullptr, nullptr); });
}

void keep_idle_tls_small() {
  prefer_x25519();
  static std::once_flag once;
  std::call_once(once, [] {
    SSL_get_ex_new_index(0, nullptr, on_new_connection, nullptr, nullptr);
    BIO_get_ex_new_index(0, nullptr, on_new_bio, nullptr, nullptr);
  });
}

}  // namespace holdfast
