#include "io/certificates.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <utility>

#include "io/files.h"

namespace holdfast {
namespace {

template <auto kFree>
struct Free {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Request = std::unique_ptr<X509_REQ, Free<X509_REQ_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>>;
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;

constexpr std::size_t kPemBytesMax = 64 << 10;
constexpr Duration kCaLifetime = seconds(10LL * 365 * 24 * 3600);
constexpr Duration kClockDifference = minutes(5);

Error openssl_error(Errc code, const std::string& what) {
  char text[256] = "no reason given";
  if (const unsigned long number = ERR_peek_last_error(); number != 0)
    ERR_error_string_n(number, text, sizeof(text));
  ERR_clear_error();
  return {code, what + ": " + text};
}

// The text that a PEM_write_bio_* function makes.
std::string pem_text(const auto& write) {
  const Bio bio(BIO_new(BIO_s_mem()));
  CHECK(bio != nullptr && write(bio.get()) == 1);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &bytes);
  return std::string(bytes, static_cast<std::size_t>(size));
}

std::string pem_of(X509* certificate) {
  return pem_text([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

std::string pem_of(EVP_PKEY* key) {
  return pem_text([&](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

Bio reader_of(std::string_view text) {
  Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(std::min(text.size(), kPemBytesMax))));
  CHECK(bio != nullptr);
  return bio;
}

// Never asks a terminal for a password.
int no_password(char*, int, int, void*) {
  return -1;
}

Result<Key> new_key() {
  Key key(EVP_EC_gen("P-256"));
  if (key == nullptr) return openssl_error(Errc::kIo, "cannot make a P-256 key");
  return key;
}

Result<Certificate> parse_certificate(std::string_view pem) {
  Certificate certificate(PEM_read_bio_X509(reader_of(pem).get(), nullptr, no_password, nullptr));
  if (certificate == nullptr) return openssl_error(Errc::kUnparsable, "not a PEM certificate");
  return certificate;
}

bool add_to_name(X509_NAME* name, const char* field, std::string_view value) {
  return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

// 64 characters at most, says X.509.
Result<void> set_subject(X509* certificate, std::string_view name, std::string_view cluster,
                         std::string_view role) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  if (add_to_name(subject, "O", cluster) && (role.empty() || add_to_name(subject, "OU", role)) &&
      add_to_name(subject, "CN", name))
    return {};
  return openssl_error(Errc::kInvalidField, "certificate name \"" + std::string(name) +
                                                "\" of cluster \"" + std::string(cluster) +
                                                "\" is not allowed; give 1 to 64 characters");
}

std::string subject_field(X509* certificate, int nid) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  const int index = X509_NAME_get_index_by_NID(subject, nid, -1);
  if (index < 0) return "";
  unsigned char* text = nullptr;
  const ASN1_STRING* value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index));
  const int size = ASN1_STRING_to_UTF8(&text, value);
  if (size < 0) return "";
  std::string field(reinterpret_cast<char*>(text), static_cast<std::size_t>(size));
  OPENSSL_free(text);
  return field;
}

bool set_random_serial(X509* certificate) {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7F) | 0x40);  // positive, full length
  const std::unique_ptr<BIGNUM, Free<BN_free>> number(
      BN_bin2bn(bytes.data(), bytes.size(), nullptr));
  return number != nullptr &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_time(ASN1_TIME* field, WallTime time) {
  return ASN1_TIME_set(field, static_cast<time_t>(time.ns / 1'000'000'000)) != nullptr;
}

bool add_extension(X509* certificate, X509V3_CTX* context, int nid, const std::string& value) {
  const Extension extension(X509V3_EXT_conf_nid(nullptr, context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

struct ExtensionText {
  int nid;
  std::string value;
};

// Everything but the subject; signed by `issuer`, which is the certificate itself for a CA.
Result<void> complete(X509* certificate, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key,
                      const std::vector<ExtensionText>& extensions, Duration lifetime,
                      WallTime now) {
  const WallTime first{now.ns - kClockDifference.ns};
  const WallTime last{now.ns + lifetime.ns};
  bool done = X509_set_version(certificate, X509_VERSION_3) == 1 &&
              set_random_serial(certificate) && set_time(X509_getm_notBefore(certificate), first) &&
              set_time(X509_getm_notAfter(certificate), last) &&
              X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
              X509_set_pubkey(certificate, key) == 1;
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  for (const ExtensionText& extension : extensions)
    done = done && add_extension(certificate, &context, extension.nid, extension.value);
  if (!done || X509_sign(certificate, issuer_key, EVP_sha256()) == 0)
    return openssl_error(Errc::kIo, "cannot make a certificate");
  return {};
}

Result<ExtensionText> alternative_names(const std::vector<std::string>& hosts) {
  std::string value = "IP:127.0.0.1,DNS:localhost";
  for (const std::string& host : hosts) {
    constexpr std::string_view kAllowed =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:*";
    if (host.empty() || host.find_first_not_of(kAllowed) != std::string::npos) {
      return Error{Errc::kInvalidField,
                   "host \"" + host + "\" is not allowed; give an address or a DNS name"};
    }
    const std::unique_ptr<ASN1_OCTET_STRING, Free<ASN1_OCTET_STRING_free>> address(
        a2i_IPADDRESS(host.c_str()));
    value += (address != nullptr ? ",IP:" : ",DNS:") + host;
  }
  ERR_clear_error();
  return ExtensionText{NID_subject_alt_name, value};
}

// The proof that the requester has the key that it wants certified.
Result<Key> requested_key(std::string_view csr_pem) {
  const Request request(
      PEM_read_bio_X509_REQ(reader_of(csr_pem).get(), nullptr, no_password, nullptr));
  if (request == nullptr) return openssl_error(Errc::kUnparsable, "not a PEM certificate request");
  Key key(X509_REQ_get_pubkey(request.get()));
  if (key == nullptr || X509_REQ_verify(request.get(), key.get()) != 1)
    return openssl_error(Errc::kUnauthenticated,
                         "the certificate request is not signed by its key");
  return key;
}

std::string key_path(const std::filesystem::path& folder) {
  return folder / "ca.key";
}
std::string certificate_path(const std::filesystem::path& folder) {
  return folder / "ca.crt";
}

}  // namespace

Result<ClusterCa> ClusterCa::create(const std::filesystem::path& folder,
                                    std::string_view cluster_uuid, WallTime now) {
  std::error_code ignored;
  if (std::filesystem::exists(certificate_path(folder), ignored)) {
    return Error{Errc::kWrongState,
                 certificate_path(folder) +
                     " exists: the cluster has its CA; remove the folder only if "
                     "the cluster is gone"};
  }
  HF_TRY(const Key key, new_key());
  const Certificate certificate(X509_new());
  CHECK(certificate != nullptr);
  HF_TRY_VOID(set_subject(certificate.get(), "holdfast-" + std::string(cluster_uuid), cluster_uuid,
                          /*role=*/""));
  HF_TRY_VOID(complete(certificate.get(), key.get(), certificate.get(), key.get(),
                       {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                        {NID_key_usage, "critical,keyCertSign"},
                        {NID_subject_key_identifier, "hash"}},
                       kCaLifetime, now));
  // The certificate last: its file says that the CA is complete.
  HF_TRY_VOID(write_file_atomic(key_path(folder), pem_of(key.get()), 0600));
  HF_TRY_VOID(write_file_atomic(certificate_path(folder), pem_of(certificate.get()), 0600));
  return load(folder);
}

Result<ClusterCa> ClusterCa::load(const std::filesystem::path& folder) {
  HF_TRY(const std::string certificate_pem, read_file(certificate_path(folder), kPemBytesMax));
  HF_TRY(const std::string key_pem, read_file(key_path(folder), kPemBytesMax));
  ClusterCa ca;
  auto certificate = parse_certificate(certificate_pem);
  ca.key_.reset(PEM_read_bio_PrivateKey(reader_of(key_pem).get(), nullptr, no_password, nullptr),
                EVP_PKEY_free);
  if (!certificate.ok() || ca.key_ == nullptr ||
      X509_check_private_key(certificate->get(), ca.key_.get()) != 1) {
    return openssl_error(Errc::kStateCorrupt, key_path(folder) + " and " +
                                                  certificate_path(folder) +
                                                  " do not fit; restore both from a backup");
  }
  ca.cluster_ = subject_field(certificate->get(), NID_organizationName);
  ca.certificate_pem_ = pem_of(certificate->get());
  ca.certificate_ = std::move(*certificate);
  return ca;
}

Result<std::string> ClusterCa::certify(evp_pkey_st* key, std::string_view name, Role role,
                                       const std::vector<std::string>& hosts, Duration lifetime,
                                       WallTime now) const {
  std::vector<ExtensionText> extensions = {
      {NID_basic_constraints, "critical,CA:FALSE"},
      {NID_key_usage, "critical,digitalSignature"},  // TLS agrees on keys by itself
      {NID_ext_key_usage, role == Role::kServer ? "serverAuth" : "clientAuth"},
      {NID_authority_key_identifier, "keyid"}};
  if (role == Role::kServer) {
    HF_TRY(auto names, alternative_names(hosts));
    extensions.push_back(std::move(names));
  }
  const Certificate certificate(X509_new());
  CHECK(certificate != nullptr);
  HF_TRY_VOID(set_subject(certificate.get(), name, cluster_, word_of(role)));
  HF_TRY_VOID(
      complete(certificate.get(), key, certificate_.get(), key_.get(), extensions, lifetime, now));
  return pem_of(certificate.get());
}

Result<Credentials> ClusterCa::issue(std::string_view name, Role role,
                                     const std::vector<std::string>& hosts, Duration lifetime,
                                     WallTime now) const {
  HF_TRY(const Key key, new_key());
  HF_TRY(std::string certificate_pem, certify(key.get(), name, role, hosts, lifetime, now));
  return Credentials{std::move(certificate_pem), pem_of(key.get())};
}

Result<std::string> ClusterCa::sign(std::string_view csr_pem, NodeId node, Duration lifetime,
                                    WallTime now) const {
  HF_TRY(const Key key, requested_key(csr_pem));
  return certify(key.get(), to_string(node), Role::kAgent, /*hosts=*/{}, lifetime, now);
}

std::string ClusterCa::derived_key(std::string_view purpose) const {
  unsigned char* der = nullptr;
  const int size = i2d_PrivateKey(key_.get(), &der);
  CHECK(size > 0);
  std::string derived =
      hmac_sha256({reinterpret_cast<char*>(der), static_cast<std::size_t>(size)}, purpose);
  OPENSSL_clear_free(der, static_cast<std::size_t>(size));
  return derived;
}

Result<CertificateRequest> make_certificate_request() {
  HF_TRY(const Key key, new_key());
  const Request request(X509_REQ_new());
  if (request == nullptr || X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0)
    return openssl_error(Errc::kIo, "cannot make a certificate request");
  return CertificateRequest{
      pem_text([&](BIO* bio) { return PEM_write_bio_X509_REQ(bio, request.get()); }),
      pem_of(key.get())};
}

Result<Identity> read_identity(std::string_view certificate_pem) {
  HF_TRY(const Certificate certificate, parse_certificate(certificate_pem));
  const std::string role_word = subject_field(certificate.get(), NID_organizationalUnitName);
  const auto role = parse_word<Role>(role_word);
  if (!role) {
    return Error{Errc::kUnparsable,
                 "certificate role (OU) \"" + role_word + "\" is not known; is it Holdfast's?"};
  }
  return Identity{subject_field(certificate.get(), NID_commonName),
                  subject_field(certificate.get(), NID_organizationName), *role};
}

std::string hmac_sha256(std::string_view key, std::string_view message) {
  std::array<unsigned char, 32> mac{};
  unsigned int size = mac.size();
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(message.data()), message.size(), mac.data(),
             &size) != nullptr);
  return std::string(mac.begin(), mac.end());
}

std::optional<NodeId> parse_node_id(std::string_view text) {
  NodeId node;
  if (text.empty()) return std::nullopt;
  std::from_chars(text.data() + 1, text.data() + text.size(), node.value);
  if (!node || to_string(node) != text) return std::nullopt;
  return node;
}

}  // namespace holdfast
